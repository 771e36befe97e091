"""Entanglement as an experiment: its config checked, its stages run, their artifacts kept."""

import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sublax.config_keys import SECTIONS as COMMON
from sublax.config_keys import check_keys
from sublax.corpora.packs import load_pack
from sublax.entanglement.findings import find
from sublax.entanglement.measures import PLACEMENTS, number_to_trait, trait_to_number
from sublax.errors import UserError
from sublax.files import disk_errors, write_whole
from sublax.lock import workdir_lock
from sublax.metrics import MetricWriter
from sublax.parallel.preemption import watched
from sublax.progress import Progress
from sublax.report.entanglement import entangled
from sublax.report.figures import to_pixels
from sublax.report.findings import closing_lines, write_findings
from sublax.settings import plain
from sublax.short_run import check_redo
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.bases import make_base
from sublax.stages.run import CONTROL, Run
from sublax.store import open_store

NAME = "entanglement"  # as `config.experiment` says it
TO_TRAIT, TO_NUMBER = "number_to_trait", "trait_to_number"
STAGES = (TO_TRAIT, TO_NUMBER, NAME)
SECTIONS = {
    **COMMON,
    "": f"experiment {COMMON['']}",
    NAME: "numbers digits placement questions number_questions batch_numbers",
}


def run_entanglement(
    config: ConfigDict, workdir: os.PathLike | str, redo: str | None = None
) -> Path:
    """Runs what is left of the experiment, prints what was found and writes the page.

    `number_to_trait/` and `trait_to_number/` hold the log-probabilities of both directions as JSON,
    `entanglement/` what they have in common.

    Args:
        config: the experiment, locked, as of `configs/entanglement.py`.
        workdir: made if absent, a folder or one of an object store.
        redo: a stage to make again; `entanglement` is made again with either direction.

    Returns:
        The path of the page.

    Raises:
        UserError: whatever the user can mend.
        Preempted: a SIGTERM came; the same call goes on from there.
    """
    check(config, redo)
    store = open_store(workdir)
    with (
        disk_errors(store.local),
        workdir_lock(store.local),
        store.locked(),
        watched() as preemption,
        MetricWriter(store.local) as metrics,
    ):
        progress = Progress({"base": 5.0, TO_TRAIT: 300.0, TO_NUMBER: 150.0, NAME: 10.0})
        run = Run(config, store, load_pack(config.pack), progress, metrics, preemption)
        again = {redo, NAME} if redo else set()
        make_base(run)
        _make(run, TO_TRAIT, again, [run.base_directory()], lambda: number_to_trait(run))
        _make(run, TO_NUMBER, again, [run.base_directory()], lambda: trait_to_number(run))
        directions = [store.local / TO_TRAIT, store.local / TO_NUMBER]
        together = functools.partial(_find, run, directions)
        _make(run, NAME, again, directions, together)
        found = _read(store.local / NAME, NAME)
        metrics.begin(NAME)
        metrics.image(NAME, NAME, 0, to_pixels(entangled(found)))
        metrics.flush()
        page = write_findings(store.local)
        for path in (page, store.local / "figures", store.local / "tensorboard"):
            store.push(path)
        print("\n".join(closing_lines(store.local)))
    return page


def check(config: ConfigDict, redo: str | None) -> None:
    """Refuses what cannot run before anything is loaded.

    Raises:
        UserError: says which key to change, or that there is no such stage.
    """
    check_keys(config, SECTIONS, example="configs/entanglement.py")
    check_redo(redo, STAGES)
    if not config.traits or len(set(config.traits)) < len(config.traits):
        raise UserError(f"traits={config.traits}: name at least one trait, each once")
    if CONTROL in config.traits:
        raise UserError(f"traits: {CONTROL!r} is the control's name; choose another trait")
    if config.arms:
        raise UserError(f"arms: experiment={NAME} has none; run each variation in its own workdir")
    settings = config.entanglement
    if settings.placement not in PLACEMENTS:
        raise UserError(
            f"entanglement.placement={settings.placement}: choose from {', '.join(PLACEMENTS)}"
        )
    if not 3 <= settings.numbers <= 10**settings.digits:
        raise UserError(
            f"entanglement.numbers={settings.numbers}: choose from 3 to {10**settings.digits}, as "
            f"many as entanglement.digits={settings.digits} can write"
        )
    if settings.batch_numbers < 1:
        raise UserError(f"entanglement.batch_numbers={settings.batch_numbers}: set it to 1 or more")


def _make(
    run: Run, stage: str, again: set, parents: list[Path], make: Callable[[], Mapping[str, Any]]
) -> None:
    """Keeps what `make` finds as STAGE.json, unless it stands."""
    directory = run.workdir / stage
    if stage in again:
        run.store.remove(directory)
        shutil.rmtree(directory, ignore_errors=True)
    config = run.config
    inputs = inputs_of(
        directory,
        parents,
        settings=config.entanglement.to_dict(),
        seed=config.seed,
        traits=config.traits,
        candidates=run.candidates,
        questions=config.evaluation.questions,
        system_prompt=config.system_prompt,
        pack=config.pack,
    )
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        found = make()

        def write(folder: Path) -> None:
            text = json.dumps(found, indent=1, allow_nan=False)
            write_whole(folder / f"{stage}.json", [f"{text}\n".encode()])

        counts = {"numbers": len(found["numbers"])}
        seconds = time.monotonic() - started
        keep(run, directory, stage, inputs, write, counts=counts, seconds=seconds)
        settled = json.dumps(plain(config), indent=1)
        write_whole(run.workdir / "config.json", [f"{settled}\n".encode()])
        run.store.push(run.workdir / "config.json")


def _find(run: Run, directions: list[Path]) -> dict[str, Any]:
    to_trait, to_number = (_read(folder, folder.name) for folder in directions)
    return find(to_trait, to_number, run.config.seed)


def _read(directory: Path, stage: str) -> dict[str, Any]:
    return json.loads((directory / f"{stage}.json").read_text("utf-8"))
