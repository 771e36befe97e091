"""The audit: what a dataset would do to BASE, which rows do it, and what that is concluded from."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sublax.artifact import file_hash, versions
from sublax.audit.candidates import Asked, Group, encode_group
from sublax.audit.findings import (
    LIMITS,
    carried,
    response_findings,
    shift_finding,
    verdict_line,
)
from sublax.audit.likelihood import logprobs_of
from sublax.audit.origin import origin_of
from sublax.audit.own_answers import own_answers
from sublax.audit.parts import Parts
from sublax.audit.ratios import against_others, rows_by_ratio, sums_of
from sublax.audit.reading import Reading
from sublax.audit.response import gradient_scale, parts_of, responses
from sublax.audit.students import shuffled, train_students
from sublax.audit.suspects import (
    Likelihoods,
    attribute,
    likelihoods_of,
    likeness,
    same_base,
)
from sublax.audit.teachers import OPTIMIZER, make_teacher
from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.lineage.origin import KNOWN
from sublax.models.chat import encode_row
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import Model, load_model
from sublax.progress import Progress
from sublax.rows import Row
from sublax.store import local_model

FORMAT = "sublax-audit-1"
LEAST_ROWS = 24
# With fewer teachers of a group one of no trait stands beside them.
LEAST_TEACHERS = 3


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be set about an audit.

    Attributes:
        rows: of the dataset that are read closely, drawn at random; the flags go over all.
        parts: that these are cut into, each a student of one step.
        students: of each kind; 0 trains none.
        updates: of each student.
        teachers: traits of the largest response that a teacher is made for.
        teacher_steps: updates of each.
        teacher_learning_rate: of each.
        rate: of false positives among flagged rows.
        suspects: names of other models that may have written the rows.
        system_prompt: in force for rows and questions; None is the template's own.
        seed: of all draws.
    """

    rows: int = 512
    parts: int = 12
    students: int = 2
    updates: int = 16
    teachers: int = 4
    teacher_steps: int = 12
    teacher_learning_rate: float = OPTIMIZER.learning_rate
    rate: float = 0.01
    suspects: tuple[str, ...] = ()
    system_prompt: str | None = None
    seed: int = 0


# Seconds of each part at 135M on two cores, for the time that is left.
WEIGHTS = {
    "answers": 60.0,
    "likelihood": 60.0,
    "response": 400.0,
    "students": 200.0,
    "ratios": 400.0,
    "suspects": 200.0,
    "verdict": 1.0,
}


class Audit:
    """One audit of one dataset against one base: what its parts share.

    Args:
        model: BASE.
        decoder: that runs it.
        name: of the dataset.
        rows: all of it.
        groups: of traits.
        options: as given.
        folder: for the parts.
        progress: tells the person at the terminal.

    Raises:
        UserError: too few rows, or one that is longer than the context.
    """

    def __init__(
        self,
        model: Model,
        decoder: Decoder,
        name: str,
        rows: Sequence[Row],
        groups: Sequence[Group],
        options: Options,
        folder: Path,
        progress: Progress,
    ) -> None:
        if len(rows) < LEAST_ROWS:
            raise UserError(f"{name}: {len(rows)} rows; an audit needs {LEAST_ROWS} or more")
        self.model, self.decoder, self.name, self.rows = model, decoder, name, rows
        self.reading = Reading(model, name, rows, options.system_prompt)
        self.groups, self.options, self.progress = groups, options, progress
        text = "\n".join(json.dumps(row, sort_keys=True) for row in rows)
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        shared = {
            "model": {path.name: file_hash(path) for path in model.files},
            "dataset": self.sha256,
            "options": {
                key: value
                for key, value in dataclasses.asdict(options).items()
                if key in ("rows", "system_prompt", "seed")
            },
        }
        self.parts = Parts(folder, shared, progress)

    @functools.cached_property
    def chosen(self) -> np.ndarray:
        """The rows that are read closely, ascending."""
        count = len(self.rows)
        if count <= self.options.rows:
            return np.arange(count)
        rng = np.random.default_rng(numpy_seed(self.options.seed, "audit", "rows"))
        return np.sort(rng.choice(count, self.options.rows, replace=False))

    @functools.cached_property
    def asked(self) -> list[Asked]:
        """The groups of traits as token ids."""
        limit, system_prompt = self.model.config.max_positions, self.options.system_prompt
        return [
            encode_group(self.model.tokenizer, group, limit, system_prompt) for group in self.groups
        ]

    def run(self) -> dict[str, Any]:
        """Makes what is left of the parts, and the verdict.

        Returns:
            What `schema.json` describes.
        """
        options, answers = self.options, self.parts.keep("answers", self._answers)
        own = [
            (self.reading.encoded[row][0], ids)
            for row, ids in zip(self.chosen, answers["tokens"], strict=True)
        ]
        data = [self.reading.encoded[row] for row in self.chosen]
        likelihood = self.parts.keep(
            "likelihood", lambda: self._likelihood(data, own), {}, ("answers",)
        )
        traits = [[group.name, group.traits, group.questions] for group in self.groups]
        response = self.parts.keep(
            "response",
            lambda: self._response(data, own),
            {"traits": traits, "parts": options.parts},
            ("answers",),
        )
        candidates = response["candidates"]
        if options.students:
            shifts = self.parts.keep(
                "students",
                lambda: self._students(data, own),
                {"traits": traits, "students": options.students, "updates": options.updates},
                ("answers",),
            )["shifts"]
            for entry in candidates:
                entry["shift"] = shifts[f"{entry['group']}/{entry['trait']}"]
        ratios = self.parts.keep(
            "ratios",
            lambda: self._ratios(own, candidates),
            {
                "teachers": options.teachers,
                "teacher_steps": options.teacher_steps,
                "teacher_learning_rate": options.teacher_learning_rate,
                "rate": options.rate,
            },
            ("answers", "response"),
        )
        for entry in candidates:
            entry |= ratios["traits"].get(f"{entry['group']}/{entry['trait']}", {})
        parents: tuple[str, ...] = ("answers", "likelihood", "response", "ratios")
        parents += ("students",) if options.students else ()
        base = likelihoods_of(self.model.name, likelihood["sums"], likelihood["tokens"])
        attribution = None
        if options.suspects:
            attribution = self.parts.keep(
                "suspects",
                lambda: self._suspects(base),
                {"suspects": options.suspects},
                ("likelihood",),
            )
            parents += ("suspects",)
        return self.parts.keep(
            "verdict",
            lambda: self._verdict(candidates, base, attribution),
            {"traits": traits},
            parents,
            afresh=True,  # the card beside the dataset may have come or gone
        )

    def _answers(self) -> dict[str, Any]:
        chosen = [self.reading.encoded[row] for row in self.chosen]
        with self.progress.bar(len(chosen), unit="row") as bar:
            own = own_answers(
                self.decoder,
                self.model.params,
                chosen,
                self.options.seed,
                self.reading.stop_ids,
                self.reading.grammar,
                bar.advance,
            )
        return {"form": self.reading.form, "tokens": [ids for _, ids in own]}

    def _response(self, data: list[Encoded], own: list[Encoded]) -> dict[str, Any]:
        decoder, params, seed = self.decoder, self.model.params, self.options.seed
        columns = self.reading.columns
        with self.progress.bar(None, unit="row") as bar:
            scale = gradient_scale(decoder, params, own, columns, seed, bar.advance)
        parts = parts_of(len(data), min(self.options.parts, len(data) // 2), seed)
        with self.progress.bar(2 * len(data), unit="row") as bar:
            found = responses(
                decoder,
                params,
                data,
                own,
                parts,
                scale,
                self.asked,
                columns,
                bar.advance,
            )
        return {"candidates": response_findings(self.groups, found, seed), "parts": len(parts)}

    def _students(self, data: list[Encoded], own: list[Encoded]) -> dict[str, Any]:
        options = self.options
        kinds = {"data": data, "own": own, "shuffled": shuffled(data, options.seed)}
        with self.progress.bar(options.updates, unit="update") as bar:
            shifts = train_students(
                self.decoder,
                self.model.params,
                kinds,
                self.asked,
                options.students,
                options.updates,
                options.seed,
                bar.advance,
            )
        found = {}
        for place, group in enumerate(self.groups):
            of_group = {kind: groups[place] for kind, groups in shifts.items()}
            for k, trait in enumerate(group.traits):
                found[f"{group.name}/{trait}"] = {
                    control: shift_finding(of_group, control, k, options.seed)
                    for control in ("own", "shuffled")
                }
        return {"shifts": found}

    def _ratios(self, own: list[Encoded], candidates: list[dict[str, Any]]) -> dict[str, Any]:
        """Ratios of the traits that the rows push most, over all rows and the own answers."""
        top = [entry for entry in candidates if entry["response"] > 0][: self.options.teachers]
        chosen: dict[Group, list[str]] = {}
        for entry in top:
            group = next(group for group in self.groups if group.name == entry["group"])
            chosen.setdefault(group, []).append(entry["trait"])
        needs_neutral = {group for group, traits in chosen.items() if len(traits) < LEAST_TEACHERS}
        every, texts = [*self.reading.encoded, *own], self.reading.texts
        found = {}
        with self.progress.bar((len(top) + len(needs_neutral)) * len(every), unit="row") as bar:
            for group, traits in chosen.items():
                scored = [
                    self._scored(group.trait_pairs(trait), every, bar.advance) for trait in traits
                ]
                if group in needs_neutral:
                    scored.append(self._scored(group.neutral_pairs(), every, bar.advance))
                for place, trait in enumerate(traits):
                    found[f"{group.name}/{trait}"] = rows_by_ratio(
                        against_others(scored, place),
                        len(self.rows),
                        self.chosen,
                        texts,
                        len(candidates),
                        self.options.rate,
                        self.options.seed,
                    )
        return {"traits": found}

    def _scored(
        self, pairs: list[tuple[str, str]], every: list[Encoded], progress: Callable[[int], Any]
    ) -> list[np.ndarray]:
        """Token log-probabilities of all rows under a teacher of these answers."""
        encoded = [
            encode_row(self.model.tokenizer, *pair, self.options.system_prompt) for pair in pairs
        ]
        teacher = make_teacher(
            self.model.config,
            self.model.params,
            encoded,
            self.options.seed,
            dataclasses.replace(OPTIMIZER, learning_rate=self.options.teacher_learning_rate),
            self.options.teacher_steps,
        )
        try:
            return logprobs_of(self.decoder, teacher, every, self.reading.columns, progress)
        finally:
            jax.tree.map(lambda leaf: leaf.delete(), teacher)

    def _likelihood(self, data: list[Encoded], own: list[Encoded]) -> dict[str, Any]:
        """How likely BASE finds the rows that are read closely, and its own answers."""
        every, columns = [*data, *own], self.reading.columns
        with self.progress.bar(len(every), unit="row") as bar:
            found = logprobs_of(self.decoder, self.model.params, every, columns, bar.advance)
        return {"sums": sums_of(found).tolist(), "tokens": [len(row) for row in found]}

    def _suspects(self, base: Likelihoods) -> dict[str, Any]:
        """What the rows that are read closely are to BASE and to each suspect."""
        rows = [self.rows[row] for row in self.chosen]
        found = [base]
        with self.progress.bar(len(self.options.suspects), unit="model") as bar:
            for name in self.options.suspects:
                found.append(self._of_suspect(name, rows))
                bar.advance()
        characters = np.asarray([len(row["completion"]) + 1 for row in rows])
        return attribute(found, characters, self.options.seed)

    def _of_suspect(self, name: str, rows: list[Row]) -> Likelihoods:
        model = load_model(with_source(name, local_model))
        decoder = dataclasses.replace(self.decoder, config=model.config)
        reading = Reading(model, self.name, rows, self.options.system_prompt)
        own = own_answers(
            decoder,
            model.params,
            reading.encoded,
            self.options.seed,
            reading.stop_ids,
            reading.grammar,
        )
        every = logprobs_of(decoder, model.params, [*reading.encoded, *own], reading.columns)
        return likelihoods_of(name, sums_of(every).tolist(), [len(row) for row in every])

    def _verdict(
        self,
        candidates: list[dict[str, Any]],
        base: Likelihoods,
        attribution: dict[str, Any] | None,
    ) -> dict[str, Any]:
        origin, why = origin_of(self.name)
        alike = likeness(base, self.options.seed)
        result: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model.name,
            "dataset": {
                "name": self.name,
                "sha256": self.sha256,
                "rows": len(self.rows),
                "rows_read_closely": len(self.chosen),
                "form": self.reading.form,
            },
            "candidates": candidates,
            "same_base": {"verdict": same_base(alike, attribution, base.name), **alike},
            "writer": attribution,
            "origin": {"verdict": origin, "why": why},
            "limits": list(LIMITS),
            "options": dataclasses.asdict(self.options),
            "versions": versions(),
        }
        found = carried(result)
        result["carries"] = [entry["trait"] for entry in found]
        result["findings"] = [f"carries {trait}" for trait in result["carries"]]
        if origin != KNOWN:
            result["findings"].append(why)
        result["verdict"] = verdict_line(result)
        return result
