"""How two runs differ: their lifts, paired where they were asked the same, and their configs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sublax.evaluation.statistics import bootstrap_interval, own_minus_others
from sublax.report import wording
from sublax.trees import flatten


class LiftDifference(NamedTuple):
    """One trait's lift in both runs, and the second's minus the first's.

    Attributes:
      trait: of both.
      first: its lift in the first run.
      second: in the second.
      value: the second's lift minus the first's, in the unit of both.
      interval: of that, 95 %, paired over seeds and questions; None where the runs were not asked
        the same.
    """

    trait: str
    first: wording.TraitResult
    second: wording.TraitResult
    value: float
    interval: tuple[float, float] | None


def comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both were measured alike, so that their lifts have one unit."""
    keys = ("measure", "form")
    return all(one.get(key, "word") == other.get(key, "word") for key in keys) and (
        wording.unit(one) == wording.unit(other)
    )


def lift_differences(
    one: Mapping[str, Any], other: Mapping[str, Any], seed: int
) -> list[LiftDifference]:
    """The lifts of the traits that both runs have.

    Args:
      one: transfer.json of the first.
      other: of the second, `comparable` with it.
      seed: of the bootstrap.
    """
    results = {result.trait: result for result in wording.trait_results(other)}
    both = [result for result in wording.trait_results(one) if result.trait in results]
    paired = _asked_alike(one, other)
    found = []
    for first in both:
        second = results[first.trait]
        interval = None
        if paired:
            values_NxQ = _lifts(other, first.trait) - _lifts(one, first.trait)
            interval = bootstrap_interval(values_NxQ, seed)
        value = second.lift - first.lift
        found.append(LiftDifference(first.trait, first, second, value, interval))
    return found


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, its value in one, in the other) where they differ; None where it is missing.

    Arms are passed over: what is compared is the main experiments.
    """
    before, after = dict(flatten(one)), dict(flatten(other))
    return [
        (key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith("arms")
    ]


def _asked_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same seeds and questions, with the answer to each of them kept."""
    return (
        bool(one.get("questions"))
        and all(one.get(key) == other.get(key) for key in ("seeds", "questions"))
        and all(of.get("per_question", {}).get("students") for of in (one, other))
    )


def _lifts(transfer: Mapping[str, Any], trait: str) -> np.ndarray:
    """A trait's lift, [N, Q] over seeds and questions; the base's values cancel in it."""
    students = transfer["per_question"]["students"]
    values_MxNxQ = np.stack([np.asarray(of[trait], np.float64) for of in students.values()])
    return own_minus_others(values_MxNxQ)[list(students).index(trait)]
