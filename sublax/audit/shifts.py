"""What short students of the rows say of a longer training: shifts, their doses, a line on.

A shift is a trait's margin in students of the data minus that in students of a control, paired by
seed: the same start, the same order of rows. Students of the control were trained as long, so what
any training does is in both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from sublax.evaluation.statistics import bootstrap_interval, holm

CONTROLS = ("own", "shuffled")


def shift_findings(
    margins: Mapping[str, np.ndarray], updates: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Each trait's shift over both controls, and over own answers by dose.

    Args:
        margins: by kind of student, [D, seeds, Q, K]: natural log, after each of D doses.
        updates: D of them, ascending.
        seed: of the draws.

    Returns:
        For each of K traits `own` and `shuffled`, the shifts over these controls after the last
        dose, with 95 % intervals over seeds and questions as `low` and `high`; `p`, one-sided, of
        whose the students are being exchanged between the data and own answers, adjusted for K
        (Holm; None where there is one student of each: n of each can give no less than one over
        2n choose n); `doses`, the shift over own answers after each of `updates`; and
        `slope`, that of one update by a straight line through them.
    """
    K = margins["data"].shape[-1]
    p_K = _p_of_students(margins["data"][-1], margins["own"][-1])
    found = []
    for k in range(K):
        shift = {
            control: margins["data"][..., k] - margins[control][..., k] for control in CONTROLS
        }
        doses = [
            {"updates": done, **interval_of(values_NxQ, seed)}
            for done, values_NxQ in zip(updates, shift["own"], strict=True)
        ]
        found.append(
            {
                **{control: interval_of(shift[control][-1], seed) for control in CONTROLS},
                "p": p_K[k],
                "doses": doses,
                "slope": interval_of(slope_of(shift["own"], updates), seed),
            }
        )
    return found


def drawn_out(slope: Mapping[str, float], updates: int) -> dict[str, Any]:
    """What a straight line gives after more updates than were tried. An extrapolation.

    What is learnt levels off, and another batch or rate learns otherwise than these students did.
    """
    return {"updates": updates, **{key: updates * slope[key] for key in ("value", "low", "high")}}


def slope_of(values_DxNxQ: np.ndarray, updates: Sequence[int]) -> np.ndarray:
    """The shift of one update: a least-squares line through zero, [N, Q].

    Students and questions each have their own, so that an interval over these is one of the line's.
    """
    doses_D = np.asarray(updates, float)
    return np.einsum("d,dnq->nq", doses_D, values_DxNxQ) / (doses_D @ doses_D)


def fifths_of(scores: Sequence[float]) -> tuple[list[int], list[int]]:
    """The rows of the highest and of the lowest fifth of the scores, as many of each."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    size = len(order) // 5
    return sorted(order[:size].tolist()), sorted(order[-size:].tolist())


def fifth_finding(top_NxQ: np.ndarray, bottom_NxQ: np.ndarray, seed: int) -> dict[str, Any]:
    """Whether the rows that score highest move a trait further than those that score lowest.

    Args:
        top_NxQ: the trait's margin in students of the highest fifth, minus BASE's.
        bottom_NxQ: in students of the lowest, of the same seeds.
        seed: of the draws.

    Returns:
        `top`, `bottom` and `difference`, each with a 95 % interval over seeds and questions.
    """
    return {
        "top": interval_of(top_NxQ, seed),
        "bottom": interval_of(bottom_NxQ, seed),
        "difference": interval_of(top_NxQ - bottom_NxQ, seed),
    }


def interval_of(values_NxQ: np.ndarray, seed: int) -> dict[str, float]:
    """The mean over seeds and questions, or over rows of one, with its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values_NxQ, seed, draws=2000)
    return {"value": float(values_NxQ.mean()), "low": low, "high": high}


def _p_of_students(data_NxQxK: np.ndarray, own_NxQxK: np.ndarray) -> list[float | None]:
    """One-sided p of the students' means: a student is what a training draws, not a question."""
    if len(data_NxQxK) < 2:
        return [None] * data_NxQxK.shape[-1]

    def difference(data, own, axis):
        return data.mean(axis=axis) - own.mean(axis=axis)

    test = stats.permutation_test(
        (data_NxQxK.mean(axis=1), own_NxQxK.mean(axis=1)),
        difference,
        vectorized=True,
        alternative="greater",
        n_resamples=np.inf,  # all exchanges: there are never many students
        batch=10_000,
    )
    return list(holm(test.pvalue))
