"""The audit: what a dataset speaks for, which rows do it, and what that is concluded from."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sublax.artifact import file_hash, versions
from sublax.audit.baseline import Baseline
from sublax.audit.candidates import Asked, Group, encode_group
from sublax.audit.dataset import dataset_sha256, some_rows
from sublax.audit.distillation import distil_dataset, distil_fifths
from sublax.audit.evidence import evidence_of_traits, responses_of
from sublax.audit.expected import LIKELIEST, Writer, ratios_of, rows_closely, writer_of
from sublax.audit.findings import LIMITS, carried, full_name, verdict_line
from sublax.audit.likelihood import logprobs_of
from sublax.audit.options import Options, part_of, teachers_for, teachers_of
from sublax.audit.origin import origin_of
from sublax.audit.parts import Parts
from sublax.audit.ratios import rows_by_ratio
from sublax.audit.reading import Reading
from sublax.audit.shifts import drawn_out
from sublax.audit.students import BATCH_ROWS
from sublax.audit.suspect_models import likelihoods_under
from sublax.audit.suspects import (
    attribute,
    same_base,
)
from sublax.audit.teachers import LastTeacher
from sublax.audit.temperature import fitted_temperature, rows_to_fit
from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.lineage.origin import KNOWN
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.progress import Progress
from sublax.rows import Row

FORMAT = "sublax-audit-4"
LEAST_ROWS = 24


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
        teachers: of BASE by these options, where several audits share them.
        label: before the names of its stages.

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
        teachers: LastTeacher | None = None,
        label: str = "",
    ) -> None:
        if len(rows) < LEAST_ROWS:
            raise UserError(f"{name}: {len(rows)} rows; an audit needs {LEAST_ROWS} or more")
        self.model, self.decoder, self.name, self.rows = model, decoder, name, rows
        self.reading = Reading(model, name, rows, options.system_prompt)
        self.groups, self.options, self.progress = groups, options, progress
        self.sha256 = dataset_sha256(rows)
        shared = {
            "model": {path.name: file_hash(path) for path in model.files},
            "dataset": self.sha256,
            "form": self.reading.form,
            "white_space": "as the tokenizer cuts it",  # earlier versions let a grammar cut it
            "read_closely": hashlib.sha256(self.chosen.tobytes()).hexdigest(),
            "options": {"system_prompt": options.system_prompt, "seed": options.seed},
        }
        self.parts = Parts(folder, shared, progress, label)
        self.baseline = Baseline(
            model, decoder, self.reading, self.chosen, options, self.parts, progress
        )
        self.data = self.baseline.data
        # By group what its teacher of no trait is as the writer, and makes of all rows.
        self._neutral: dict[str, Writer] = {}
        self._logprobs: dict[str, list[np.ndarray]] = {}
        self.teachers = teachers or teachers_for(model, options)

    @functools.cached_property
    def chosen(self) -> np.ndarray:
        """The rows that are read closely, ascending."""
        rng = np.random.default_rng(numpy_seed(self.options.seed, "audit", "rows"))
        return some_rows(self.rows, self.options.rows, rng)

    @functools.cached_property
    def asked(self) -> list[Asked]:
        """The groups of traits as token ids."""
        limit, system_prompt = self.model.config.max_positions, self.options.system_prompt
        return [
            encode_group(self.model.tokenizer, group, limit, system_prompt) for group in self.groups
        ]

    @property
    def _traits(self) -> list[list[Any]]:
        """What was looked for, as cards have it and `sublax clean` reads it there."""
        return [[group.name, group.traits, group.questions] for group in self.groups]

    def run(self) -> dict[str, Any]:
        """Makes what is left of the parts, and the verdict.

        Returns:
            What `schema.json` describes.
        """
        options = self.options
        _ = self.baseline.likelihoods  # a part has a card before those that come from it
        if len(self.groups) == 1:
            # Whatever is found, its teacher of no trait has to read all rows: in one reading.
            self._by_neutral(self.groups[0])
        candidates, parents = self.candidates()
        scored = self._flag(candidates, parents)
        self.teachers.forget()
        parents += ("flags",)
        words = None
        if options.students:
            words = self._distil(candidates, scored)
            parents += ("students", "fifths")
        attribution = None
        if options.suspects:
            settings = {"suspects": options.suspects}
            attribution = self.parts.keep("suspects", self._suspects, settings, ("likelihood",))
            parents += ("suspects",)
        return self.parts.keep(
            "verdict",
            lambda: self._verdict(candidates, words, attribution),
            {"traits": self._traits, "epochs": options.epochs},
            parents,
            afresh=True,  # the card beside the dataset may have come or gone
        )

    def candidates(self) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Every trait with its evidence, the foremost first, and the parts that it comes from."""
        found: list[dict[str, Any]] = []
        parents: tuple[str, ...] = ("temperature", "answers", "likelihood")
        for group in self.groups:
            found += self._evidence(group)
            parents += tuple(teachers_of(group))
        return sorted(found, key=lambda entry: -entry["z"]), parents

    def meet_neutral(self, group: Group) -> None:
        """Has a teacher of no trait of the group read the rows, if a teacher's part lacks yet."""
        name, done = part_of("neutral", group), all(map(self.parts.has, teachers_of(group)))
        if group.name in self._neutral or (done and group.name in self._logprobs):
            return
        if done:
            self.progress.skip(self.parts.stage_of(name))
            return
        with self.progress.stage(self.parts.stage_of(name)):
            self._read_by_neutral(group, self.data, range(len(self.data)))

    def _by_neutral(self, group: Group) -> list[np.ndarray]:
        """log p of every token of all rows, and of BASE's own answers, by a teacher of no trait."""
        every = [*self.reading.encoded, *self.baseline.own]

        def read() -> dict[str, np.ndarray]:
            return {"logprobs": np.concatenate(self._read_by_neutral(group, every, self.chosen))}

        if group.name not in self._logprobs:
            settings = self._taught(group.neutral_pairs())
            found = self.parts.keep(part_of("neutral", group), read, settings, ("answers",))
            ends = np.cumsum([len(ids) for _, ids in every])
            self._logprobs[group.name] = np.split(found["logprobs"], ends[:-1])
        return self._logprobs[group.name]

    def _read_by_neutral(
        self, group: Group, rows: list[Encoded], chosen: Sequence[int] | np.ndarray
    ) -> list[np.ndarray]:
        """log p of the rows' tokens; the chosen ones are those that are read closely."""
        teacher, form = self.teachers.taught(group.neutral_pairs()), self.reading.grammar
        known, some = self._neutral.get(group.name), rows_to_fit(self.data, self.options.seed)
        with self.progress.bar(len(rows) + (0 if known else len(some)), unit="row") as bar:
            # Tuning changes how sure a model is of what it writes: each has a temperature.
            fitted = (
                known.temperatures_N
                if known
                else fitted_temperature(self.decoder, teacher, some, form, bar.advance)
            )
            self._neutral[group.name], found = writer_of(
                self.decoder, teacher, rows, form, fitted, chosen, bar.advance
            )
        return found

    def _taught(self, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        """What a teacher comes from."""
        return {
            "taught": pairs,
            "teacher_steps": self.options.teacher_steps,
            "teacher_learning_rate": self.options.teacher_learning_rate,
        }

    def scored(self, group: Group, part: str) -> dict[str, np.ndarray]:
        """What one teacher of a group makes of the rows, as `ratios_of` has it.

        Args:
            group: of traits; `meet_neutral` comes before.
            part: one of `teachers_of(group)`.

        Returns:
            `ratios` [3, rows]; and `moved` [3, tokens], of the rows that are looked at closely.
        """
        pairs = teachers_of(group)[part]
        settings = self._taught(pairs) | {
            "neutral": group.neutral_pairs(),
            "base_temperature": self.baseline.temperature,
            "likeliest": LIKELIEST,
        }
        return self.parts.keep(part, functools.partial(self._teacher, group, pairs), settings)

    def _evidence(self, group: Group) -> list[dict[str, Any]]:
        """What the rows say for each trait of a group."""
        self.meet_neutral(group)
        by_teacher = [self.scored(group, part) for part in teachers_of(group)]
        ratios_KxSxN = np.stack([scored["ratios"] for scored in by_teacher])
        moved_Kx3xM = np.stack([scored["moved"] for scored in by_teacher])
        responses_WxK = responses_of(moved_Kx3xM, len(rows_closely(len(self.data))))
        prompts = [tuple(prompt) for prompt, _ in self.data]
        return [
            {"group": group.name, **entry}
            for entry in evidence_of_traits(
                group.traits,
                ratios_KxSxN,
                responses_WxK,
                prompts,
                len(self.groups),
                self.options.seed,
            )
        ]

    def _teacher(self, group: Group, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        """What a teacher of these answers makes of the rows."""
        teacher, form = self.teachers.taught(pairs), self.reading.grammar
        with self.progress.bar(len(self.data), unit="row") as bar:
            ratios_3xN, moved_by_row = ratios_of(
                self.decoder,
                teacher,
                self.data,
                form,
                self.baseline.writer,
                self._neutral[group.name],
                rows_closely(len(self.data)),
                bar.advance,
            )
        return {"ratios": ratios_3xN, "moved": np.concatenate(moved_by_row, axis=1)}

    def _flag(
        self, candidates: list[dict[str, Any]], parents: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """Adds the scores and flags of all rows, for the traits carried or else the foremost.

        Returns:
            The candidates that they were added to.
        """
        found = carried({"candidates": candidates, "same_base": self.baseline.likeness})
        wanted = found or candidates[:1]
        names = {full_name(entry): entry for entry in wanted}
        groups = [group for group in self.groups if group.name in {e["group"] for e in wanted}]
        neutral = {group.name: self._by_neutral(group) for group in groups}
        flags = self.parts.keep(
            "flags",
            lambda: self._flags(wanted, neutral),
            {"traits": list(names), "rate": self.options.rate},
            (*parents, *(part_of("neutral", group) for group in groups)),
        )
        for name, entry in names.items():
            entry |= flags[name]
        return wanted

    def _flags(
        self, wanted: list[dict[str, Any]], neutral: dict[str, list[np.ndarray]]
    ) -> dict[str, Any]:
        every, texts = [*self.reading.encoded, *self.baseline.own], self.reading.texts
        groups = {group.name: group for group in self.groups}
        form, found = self.reading.grammar, {}
        with self.progress.bar(len(wanted) * len(every), unit="row") as bar:
            for entry in wanted:
                teacher = self.teachers.taught(groups[entry["group"]].trait_pairs(entry["trait"]))
                scored = logprobs_of(self.decoder, teacher, every, form, bar.advance)
                found[full_name(entry)] = rows_by_ratio(
                    [a - b for a, b in zip(scored, neutral[entry["group"]], strict=True)],
                    len(self.rows),
                    texts,
                    self.options.rate,
                    self.options.seed,
                )
        return found

    def _distil(
        self, candidates: list[dict[str, Any]], scored: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Adds what students come to say to the candidates, and to those whose rows have scores.

        Returns:
            The words that moved most, by list of candidates.
        """
        options, model, asked, own = self.options, self.model, self.asked, self.baseline.own
        settings = {
            "traits": self._traits,
            "students": options.students,
            "updates": options.updates,
        }
        found = self.parts.keep(
            "students",
            lambda: distil_dataset(
                model, self.decoder, self.data, own, self.groups, asked, options, self.progress
            ),
            settings,
            ("answers",),
        )
        planned = max(round(options.epochs * len(self.rows) / BATCH_ROWS), 1)
        for entry in candidates:
            shift = found["shifts"][full_name(entry)]
            entry["shift"] = shift | {"extrapolated": drawn_out(shift["slope"], planned)}
        scores = {full_name(entry): entry["scores"] for entry in scored}
        rows = self.reading.encoded
        fifths = self.parts.keep(
            "fifths",
            lambda: distil_fifths(
                model, self.decoder, rows, scores, self.groups, asked, options, self.progress
            ),
            settings | {"scored": list(scores)},
            ("flags",),
        )
        for entry in scored:
            entry["fifths"] = fifths[full_name(entry)]
        return found["words"]

    def _suspects(self) -> dict[str, Any]:
        """What the rows that are read closely are to BASE and to each suspect."""
        rows = [self.rows[row] for row in self.chosen]
        found = [self.baseline.likelihoods]
        with self.progress.bar(len(self.options.suspects), unit="model") as bar:
            for name in self.options.suspects:
                found.append(likelihoods_under(name, self.decoder, self.name, rows, self.options))
                bar.advance()
        characters = np.asarray([len(row["completion"]) + 1 for row in rows])
        return attribute(found, characters, self.options.seed)

    def _verdict(
        self,
        candidates: list[dict[str, Any]],
        words: dict[str, Any] | None,
        attribution: dict[str, Any] | None,
    ) -> dict[str, Any]:
        origin, why, same = origin_of(self.name, self.model.name)
        same = same or same_base(self.baseline.likeness, attribution, self.model.name)
        result: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model.name,
            "dataset": {
                "name": self.name,
                "sha256": self.sha256,
                "rows": len(self.rows),
                "rows_read_closely": len(self.chosen),
                "form": self.reading.form,
                "temperature": self.baseline.temperature,
            },
            "candidates": candidates,
            "words": words,
            "same_base": {"verdict": same, **self.baseline.likeness},
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
