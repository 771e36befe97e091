"""The base: a model by its name, or one that the run makes: random, distilled, or a twin of one."""

import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from sublax.lineage.base_files import described_by, revision_of
from sublax.models.derived import derivation_of
from sublax.models.export import export_folder
from sublax.models.source import Model
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.base_names import (
    distilled_base,
    made_here,
    random_base,
    random_shape,
    source_base,
)
from sublax.stages.distilled_base import make_distilled
from sublax.stages.random_base import make_random
from sublax.stages.run import Run, base_to_load
from sublax.stages.teacher_rows import rows_hashes

STAGE, OF_STUDENTS = "base", "students' base"


def make_base(run: Run) -> None:
    """Writes the base's card, the root that every artifact's parents lead to.

    A base that the run makes itself is written beside its card, unless it is there already, after
    the base that it is made from.

    Raises:
        UserError: there is no such model, or no `random_base` in the config where it is needed.
    """
    stage, name = OF_STUDENTS if run.of_students else STAGE, run.model_name
    if not made_here(name):
        with run.progress.stage(stage):
            directory = run.base_directory()
            inputs = inputs_of(directory, [], base=name, source_files=run.base_hashes)
            if not is_done(run, directory, inputs):
                keep(run, directory, "base", inputs, lambda folder: None, **_beside(run))
        return None
    wanted = _to_make(run, name)
    if not wanted:
        return run.progress.skip(stage)
    with run.progress.stage(stage):
        for each in wanted:
            _make(run, each)


def _beside(run: Run) -> dict[str, Any]:
    """For the card of a base that lies elsewhere: what goes with its weights.

    Not among the inputs, so that a run that was begun without it can go on.
    """
    revision = revision_of(run.described.files)
    return {"described_by": described_by(run.described.files)} | (
        {"revision": revision} if revision else {}
    )


def _to_make(run: Run, name: str) -> list[str]:
    """The bases that are not there yet of one and those it is made from, the first one first."""
    source = source_base(name)
    before = _to_make(run, source) if source and made_here(source) else []
    # What is made from one that is not there is not either.
    return [*before, name] if before or not is_done(run, *_inputs(run, name)) else []


def _inputs(run: Run, name: str) -> tuple[Path, dict[str, Any]]:
    """Where a base of the run's own stands, and what it is made from."""
    directory, source, corpus = run.directory_of_base(name), source_base(name), run.config.corpus
    if derivation_of(name):
        return directory, inputs_of(directory, [run.directory_of_base(source or "")], base=name)
    if "random_base" not in run.config:
        random_shape(run.config, name, 1)  # which says what is missing
    parents = [run.directory_of_base(source)] if source and made_here(source) else []
    inputs = inputs_of(
        directory,
        parents,
        base=name,
        random_base=run.config.random_base.to_dict(),
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        kind=corpus.kind,
        example_count=corpus.example_count,
        answer_count=corpus.answer_count,
        questions=run.config.evaluation.questions,
        candidates=run.candidates,
        **_rows_hashes(run),
    )
    return directory, inputs


def _rows_hashes(run: Run) -> dict[str, Any]:
    """Of all teachers' rows, whose words the tokenizer knows."""
    found: dict[str, Any] = {}
    for name in run.config.teacher.rows:
        found |= rows_hashes(run, name).get("rows_sha256", {})
    return {"rows_sha256": found} if found else {}


def _make(run: Run, name: str) -> None:
    """Makes a base of the run's own, whose source stands."""
    directory, inputs = _inputs(run, name)
    model, updates, seed = _made(run, name)
    write = functools.partial(
        export_folder, params=model.params, config=model.config, tokenizer=model.tokenizer
    )
    keep(run, directory, "base", inputs, write, counts={"updates": updates}, seeds=[seed])


def _made(run: Run, name: str) -> tuple[Model, int, int]:
    """(the model, updates that it took, its seed)."""
    if base := random_base(name):
        return make_random(run, name, base), run.config.random_base.pretraining.steps, base.seed
    if distilled := distilled_base(name):
        return make_distilled(run, name, distilled), distilled.steps, distilled.seed
    derivation = derivation_of(name)
    assert derivation is not None  # `made_here` knows no fourth kind
    # By its name: a twin of what stands in a folder is made as any other twin.
    folder = base_to_load(run, derivation.source)
    spelled = name.removesuffix(derivation.source) + folder
    return run.load(spelled, jnp.float32), 0, derivation.seed
