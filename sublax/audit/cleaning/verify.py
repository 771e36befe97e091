"""What each method left of an effect, and of the data's use, at equal rows kept.

The rows as they were and each cleaned copy are cut to one number of rows, which stand for the same
rows wherever the method leaves the choice. Then the audit's measure is taken of each set anew, and
short students of all sets, trained side by side, read original rows that none of them has seen.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sublax.audit.audit import LEAST_ROWS, Audit
from sublax.audit.candidates import Group
from sublax.audit.findings import full_name
from sublax.audit.likelihood import logprobs_of
from sublax.audit.options import Options, part_of, stages_of, teachers_for, teachers_of
from sublax.audit.shifts import interval_of
from sublax.audit.students import distilled
from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.progress import Progress
from sublax.rows import Row

# Of the rows, and how many at most: read by the students, and in no set.
HELD_OUT, MOST_HELD_OUT = 1 / 8, 256
ORIGINAL = "original"
# What the audit's ratios do without.
QUICK: dict[str, Any] = {"students": 0, "suspects": ()}

LIMITS = (
    "The effect is the audit's log-likelihood ratio: how far the rows speak for the trait, not how "
    "far a training on them goes.",
    "A method that takes all away (renumbered, reanswer) is the floor to read the others by, and "
    "not at zero: rows unlike BASE's own answers have a ratio of their own, trait or none. Of such "
    "a set, what is left is no measure of the trait.",
    "Rows that were dropped or masked by an audit's scores were chosen for what chance had put "
    "into those scores too.",
    "What is left is a share of the effect that was measured, as if that were exact; its own "
    "interval stands beside it.",
    "One short student a set: the interval of its loss is over rows, not over trainings.",
)

Effects = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the audit measures of one set of rows.

    Attributes:
        effects: by `group/trait`, `value` with its 95 % interval as `low` and `high`.
        likeness: to BASE's own answers in the set's own form, as `likeness` has it.
    """

    effects: Effects
    likeness: dict[str, Any]


def measured_sets(
    model: Model,
    decoder: Decoder,
    sets: Mapping[str, Sequence[Row]],
    group: Group,
    options: Options,
    folder: Path,
) -> dict[str, Measured]:
    """What the audit measures of some sets of rows: every trait of a group, and their likeness.

    Every teacher is made once and scores all sets, which takes less time than an audit of each.

    Args:
        model: BASE.
        decoder: that runs it.
        sets: by name, rows of prompt and completion.
        group: of traits.
        options: of the audit.
        folder: for each set's parts, which are found again.

    Returns:
        By set.
    """
    seconds = stages_of([group], options)
    stages = (
        "temperature",
        "answers",
        "likelihood",
        part_of("neutral", group),
        *teachers_of(group),
    )
    progress = Progress({f"{name}: {stage}": seconds[stage] for stage in stages for name in sets})
    teachers = teachers_for(model, options)
    audits = {
        name: Audit(
            model, decoder, name, rows, [group], options, folder / name, progress, teachers,
            f"{name}: ",
        )
        for name, rows in sets.items()
    }  # fmt: skip
    alike = {name: audit.baseline.likeness for name, audit in audits.items()}
    for audit in audits.values():
        audit.meet_neutral(group)
    for part in teachers_of(group):
        for audit in audits.values():
            audit.scored(group, part)
    teachers.forget()
    return {
        name: Measured(_effects(audit.candidates()[0]), alike[name])
        for name, audit in audits.items()
    }


def _effects(candidates: Sequence[Mapping[str, Any]]) -> Effects:
    return {
        full_name(entry): {"value": entry["excess"], "low": entry["low"], "high": entry["high"]}
        for entry in candidates
    }


def held_out_rows(count: int, seed: int) -> list[int]:
    """Rows that go into no set, ascending."""
    rng = np.random.default_rng(numpy_seed(seed, "clean", "held out"))
    size = min(max(round(count * HELD_OUT), 1), MOST_HELD_OUT)
    return sorted(rng.permutation(count)[:size].tolist())


def equal_rows(
    places: Mapping[str, Sequence[int]], count: int, held_out: Sequence[int], seed: int
) -> dict[str, list[int]]:
    """Of each set the rows that are compared: as many of each, and for the same originals.

    Args:
        places: by set, for each of its rows, which original row it stands for.
        count: of original rows.
        held_out: original rows that are in no set.
        seed: of the draw.

    Returns:
        By set, ascending indices of its rows.

    Raises:
        UserError: they are too few for an audit.
    """
    rng = np.random.default_rng(numpy_seed(seed, "clean", "equal rows"))
    rank = {int(place): number for number, place in enumerate(rng.permutation(count))}
    left = set(held_out)
    ranked = {
        name: sorted((rank[place], row) for row, place in enumerate(own) if place not in left)
        for name, own in places.items()
    }
    fewest = min(ranked, key=lambda name: len(ranked[name]))
    size = len(ranked[fewest])
    if size < LEAST_ROWS:
        raise UserError(
            f"--verify: {fewest} has {size} rows, {len(left)} others held out; an audit needs "
            f"{LEAST_ROWS} or more"
        )
    return {name: sorted(row for _, row in own[:size]) for name, own in ranked.items()}


def share_kept(before: Sequence[str], after: Sequence[str], places: Sequence[int]) -> float:
    """The share of the dataset's words and numbers that are still there, in their row and order.

    Args:
        before: all original completions.
        after: completions of a set.
        places: for each of these, which original it stands for.
    """
    kept = 0
    for text, place in zip(after, places, strict=True):
        old, new = (re.findall(r"\w+", one) for one in (before[place], text))
        if old == new:
            kept += len(old)
        else:
            matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
            kept += sum(block.size for block in matcher.get_matching_blocks())
    return kept / max(sum(len(re.findall(r"\w+", text)) for text in before), 1)


def losses_of(
    decoder: Decoder,
    params: Any,
    sets: Mapping[str, Sequence[Encoded]],
    held_out: Sequence[Encoded],
    updates: int,
    seed: int,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, np.ndarray]:
    """Each set's student's loss on rows that none has seen.

    Args:
        decoder: BASE.
        params: of BASE.
        sets: (prompt ids, completion ids) of each set's rows, as many of each.
        held_out: original rows.
        updates: of each student.
        seed: of the trainings.
        progress: called with 1 for every update.

    Returns:
        By set float64 [held-out rows], natural log a token; and BASE's own as `base`.
    """

    def loss(params: Any) -> np.ndarray:
        return np.asarray([-row.mean() for row in logprobs_of(decoder, params, held_out)], float)

    found = {"base": loss(params)}
    for name, student in distilled(decoder, params, sets, 1, updates, seed, progress):
        found[name] = loss(student)
    return found


def left_of(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float] | None:
    """What is left of an effect, as a share of it; None where there was none above zero."""
    if before["low"] <= 0:
        return None
    return {key: after[key] / before["value"] for key in ("value", "low", "high")}


def verified(
    trait: str,
    kept: Mapping[str, float],
    measured: Mapping[str, Measured],
    losses: Mapping[str, np.ndarray],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Each set's line of the table.

    Args:
        trait: that was to be cleaned away, as `group/trait`.
        kept: by set, of `share_kept`.
        measured: by set, of `measured_sets`.
        losses: by set, and of `base`, of `losses_of`.
        seed: of the intervals' draws.

    Returns:
        By set: `kept`; the trait's `effect` and what is `left` of it (None where the original rows
        have none above zero); the set's `likeness` to BASE's own answers; the student's `loss` and
        what of it is `lost` against the student of the original rows (0 there), nats a token; and
        all traits' `effects`.
    """
    before = measured[ORIGINAL].effects[trait]
    return {
        name: {
            "kept": kept[name],
            "effect": measured[name].effects[trait],
            "left": left_of(measured[name].effects[trait], before),
            "likeness": measured[name].likeness,
            "loss": interval_of(losses[name][None], seed),
            "lost": interval_of((losses[name] - losses[ORIGINAL])[None], seed),
            "effects": measured[name].effects,
        }
        for name in kept
    }
