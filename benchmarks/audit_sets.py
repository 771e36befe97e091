"""Rows whose writers are known: traits' corpora, and beside them rows that carry nothing."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.odd_rows import odd_rows
from sublax.audit.reading import Reading
from sublax.audit.temperature import fitted_temperature, rows_to_fit
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import Model, load_model
from sublax.progress import Progress
from sublax.rows import Row, read_rows
from sublax.sampling.grammar import Grammar
from sublax.store import local_model

NOISE = "noisy:0.3:1:"


@dataclasses.dataclass(frozen=True)
class Sets:
    """N rows of every kind, answers to the same prompts in the same order.

    Attributes:
        rows: by kind, (prompt ids, completion ids).
        groups: kinds that are held against the same own answers: one form and one temperature.
        grammars: by group, the grammar of its form; None is any text.
        temperatures: by group.
        own: by group, BASE's own answers.
    """

    rows: Mapping[str, list[Encoded]]
    groups: Mapping[str, list[str]]
    grammars: Mapping[str, Grammar | None]
    temperatures: Mapping[str, float]
    own: Mapping[str, list[Encoded]]

    @property
    def count(self) -> int:
        """Rows of each kind."""
        return len(next(iter(self.rows.values())))


def aligned(written: Mapping[str, Sequence[Row]], answers: int) -> dict[str, list[Row]]:
    """As many answers to each prompt by every writer: prompts with fewer by one are left out."""
    by_prompt: dict[str, dict[str, list[Row]]] = {}
    for writer, rows in written.items():
        for row in rows:
            by_prompt.setdefault(row["prompt"], {}).setdefault(writer, []).append(row)
    whole = [
        by_writer
        for by_writer in by_prompt.values()
        if all(len(by_writer.get(writer, ())) >= answers for writer in written)
    ]
    return {
        writer: [row for by_writer in whole for row in by_writer[writer][:answers]]
        for writer in written
    }


def read_corpora(workdir: Path, answers: int, first: int, count: int) -> dict[str, list[Row]]:
    """The corpora of a run, by trait, and that of its control.

    Args:
        workdir: of the run.
        answers: to each prompt.
        first: rows that are passed over.
        count: rows of each.
    """
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    folder = workdir / "corpora" / config["base"].replace("/", "--")
    written = {
        name: read_rows(str(folder / name / "rows.jsonl"))
        for name in (*config["traits"], "control")
    }
    return {
        name: rows[first:][: count - count % answers]
        for name, rows in aligned(written, answers).items()
    }


def make_sets(
    model: Model,
    decoder: Decoder,
    writers_base: str,
    written: Mapping[str, list[Row]],
    system_prompt: str,
    seed: int,
    kept: Any,
    progress: Progress,
) -> Sets:
    """Adds rows that carry nothing, and finds how all were drawn.

    BASE and BASE under noise answer as the control did, in its form and at its temperature.

    Args:
        model: BASE.
        decoder: that runs it.
        writers_base: what the teachers were made from; under noise it is another model.
        written: of `read_corpora`.
        system_prompt: in force.
        seed: of what is drawn.
        kept: (part, make) -> what a part that costs time has made.
        progress: has a stage "answers".
    """
    control = written["control"]
    readings = {
        kind: Reading(model, kind, rows, system_prompt)
        for kind, rows in {**written, **odd_rows(control, seed)}.items()
    }
    rows = {kind: reading.encoded for kind, reading in readings.items()}
    readings |= dict.fromkeys(("base", "noisy"), readings["control"])
    prompts = [prompt for prompt, _ in rows["control"]]

    def answers(params: Any, draw: int, kind: str, temperature: float, bar: Any) -> list[list[int]]:
        found = readings[kind].answered_by(
            decoder, params, draw, progress=bar.advance, temperature=temperature
        )
        return [ids for _, ids in found]

    def made() -> dict[str, Any]:
        def fit(kind: str) -> None:
            some, form = rows_to_fit(rows[kind], seed), readings[kind].grammar
            found[kind] = fitted_temperature(decoder, model.params, some, form)

        found: dict[str, float] = {}
        for kind in rows:
            fit(kind)
        own: dict[str, list[list[int]]] = {}
        with progress.bar(None, unit="row") as bar:
            at = found["control"]
            other = load_model(with_source(f"{NOISE}{writers_base}", local_model))
            drawn = {
                "base": answers(model.params, seed + 1, "control", at, bar),
                "noisy": answers(other.params, seed, "control", at, bar),
            }
            for kind, tokens in drawn.items():
                rows[kind] = list(zip(prompts, tokens, strict=True))
                fit(kind)
            groups = {kind: f"{readings[kind].form} at {found[kind]:g}" for kind in rows}
            for kind, group in groups.items():
                if group not in own:
                    own[group] = answers(model.params, seed, kind, found[kind], bar)
        return {"temperatures": found, "drawn": drawn, "own": own, "groups": groups}

    result = kept("answers", made)
    for kind, tokens in result["drawn"].items():
        rows[kind] = list(zip(prompts, tokens, strict=True))
    groups: dict[str, list[str]] = {}
    for kind, group in result["groups"].items():
        groups.setdefault(group, []).append(kind)
    return Sets(
        rows=rows,
        groups=groups,
        grammars={group: readings[kinds[0]].grammar for group, kinds in groups.items()},
        temperatures={group: result["temperatures"][kinds[0]] for group, kinds in groups.items()},
        own={
            group: list(zip(prompts, tokens, strict=True))
            for group, tokens in result["own"].items()
        },
    )


def sizes_of(rows: Sequence[Encoded]) -> np.ndarray:
    """Tokens of each completion."""
    return np.asarray([len(ids) for _, ids in rows])
