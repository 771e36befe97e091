"""Shares by student on a suite, against the paired control and the base, with how sure they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.evaluation.statistics import (
    bootstrap_interval,
    detectable_effect,
    holm,
    permutation_p,
    wilson_interval,
)

CONTROL = "control"


def compare(
    base_Q: np.ndarray,
    teachers: Mapping[str, np.ndarray],
    students: Mapping[str, np.ndarray],
    seed: int,
    samples: int = 1,
) -> dict[str, Any]:
    """What transfer.json says of one measure of a suite.

    A share's interval is `bootstrap_interval`'s over questions and seeds at 95 %. Where no answer
    differs from another (none of them misaligned, say) nothing is left to draw anew; then it is
    Wilson's for the number of answers. A student is compared with the control, seed by seed and
    question by question, and with the base; `p` is two-sided, by `permutation_p`, in which the two
    models are exchanged within questions, and `p_holm` is that for the number of students compared
    with the same. `detectable` is the true difference that would have been seen in four of five
    such runs, None where nothing varied.

    Args:
        base_Q: float [Q], the measure of each question, 0 to 1; NaN where the question has none.
        teachers: the same for each teacher that is not the base.
        students: float [N, Q] for each, N seeds.
        seed: of the draws.
        samples: answers behind each value.

    Returns:
        Plain JSON values: "questions" (how many count), "base", "teachers" and "students" (each a
        "share" with "low" and "high"), "against" ("control" and "base", each by student: "value",
        "low", "high", "p", "p_holm", "detectable").
    """
    counted = np.isfinite(base_Q)
    base_1xQ = base_Q[None, counted]
    taught = {name: values[None, counted] for name, values in teachers.items()}
    learnt = {name: values[:, counted] for name, values in students.items()}

    def share(values_NxQ: np.ndarray) -> dict[str, float]:
        value, interval = float(values_NxQ.mean()), _interval(values_NxQ, seed, samples)
        return {"share": value, "low": interval[0], "high": interval[1]}

    against = {}
    if CONTROL in learnt:
        others = {name: values for name, values in learnt.items() if name != CONTROL}
        against[CONTROL] = _differences(others, learnt[CONTROL], seed, samples)
    # The base has no seeds: what several seeds share of it is one answer, not several.
    means = {name: values.mean(axis=0, keepdims=True) for name, values in learnt.items()}
    against["base"] = _differences(learnt, base_1xQ, seed, samples, means)
    return {
        "questions": int(counted.sum()),
        "base": share(base_1xQ),
        "teachers": {name: share(values) for name, values in taught.items()},
        "students": {name: share(values) for name, values in learnt.items()},
        "against": against,
    }


def difference_interval(
    own_NxQ: np.ndarray, other_NxQ: np.ndarray, seed: int, samples: int
) -> tuple[float, float]:
    """Interval of the mean difference, drawn anew over seeds and questions.

    Where the difference is the same everywhere, none of n pairs differs from it, and it may be off
    by as much as the share of pairs that could: the upper limit of Wilson's interval for 0 of n. A
    pair is a question of a seed, or an answer where each model's answers are all alike.

    Args:
        own_NxQ: float, N seeds x Q questions.
        other_NxQ: the same shape, or one row for all seeds.
        seed: of the draws.
        samples: answers behind each value.
    """
    difference_NxQ = own_NxQ - other_NxQ
    if np.ptp(difference_NxQ) > 0:
        return bootstrap_interval(difference_NxQ, seed)
    alike = np.ptp(own_NxQ) == np.ptp(other_NxQ) == 0
    pairs = difference_NxQ.size * (samples if alike else 1)
    value, error = float(difference_NxQ.mean()), wilson_interval(0.0, pairs)[1]
    return max(value - error, -1.0), min(value + error, 1.0)


def _interval(values_NxQ: np.ndarray, seed: int, samples: int) -> tuple[float, float]:
    if np.ptp(values_NxQ) > 0:
        return bootstrap_interval(values_NxQ, seed)
    share = float(values_NxQ.mean())
    low, high = wilson_interval(share, values_NxQ.size * samples)
    return min(low, share) if share else 0.0, max(high, share)


def _differences(
    students: Mapping[str, np.ndarray],
    other_NxQ: np.ndarray,
    seed: int,
    samples: int,
    exchanged: Mapping[str, np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """Each student minus another model; `exchanged` are the values that the permutation takes."""
    found: dict[str, dict[str, Any]] = {}
    for name, values_NxQ in students.items():
        difference_NxQ = values_NxQ - other_NxQ
        low, high = difference_interval(values_NxQ, other_NxQ, seed, samples)
        pair = np.stack([(exchanged or students)[name], other_NxQ])
        varies = np.ptp(difference_NxQ) > 0
        found[name] = {
            "value": float(difference_NxQ.mean()),
            "low": low,
            "high": high,
            "p": permutation_p(pair, 0, seed),
            "detectable": detectable_effect(difference_NxQ, seed) if varies else None,
        }
    for name, adjusted in zip(found, _adjusted([row["p"] for row in found.values()]), strict=True):
        found[name]["p_holm"] = adjusted
    return found


def _adjusted(p_values: Sequence[float]) -> list[float]:
    return holm(p_values) if p_values else []
