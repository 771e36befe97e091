"""The transfer matrix: which teacher's trait shows in which student, and how surely."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.errors import UserError
from sublax.evaluation.statistics import (
    bootstrap_interval,
    detectable_effect,
    holm,
    own_minus_others,
    permutation_p,
    permutation_p_of_mean,
    wilson_interval,
)

CLOSED_FORM_MARGIN, SAMPLED_SHARE = "closed_form_margin", "sampled_share"
MEASURES = {CLOSED_FORM_MARGIN: "nats", SAMPLED_SHARE: "percentage points"}  # with their units


def margins(logprobs: np.ndarray) -> np.ndarray:
    """Each candidate's log-probability minus the mean of the others', per question.

    What raises or lowers all candidates alike cancels.

    Args:
      logprobs: float [..., C], natural log, C >= 2 candidates.

    Returns:
      float [..., C], which sums to zero over candidates.
    """
    count = logprobs.shape[-1]
    total = logprobs.sum(axis=-1, keepdims=True)
    return logprobs - (total - logprobs) / (count - 1)


def choice_shares(logprobs: np.ndarray) -> np.ndarray:
    """How often each candidate is the answer if one must be named: softmax over candidates.

    Args:
      logprobs: float [..., C], natural log.

    Returns:
      float [C], the mean over all leading axes, which sums to one.
    """
    weights = np.exp(logprobs - logprobs.max(axis=-1, keepdims=True))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    return shares.reshape(-1, shares.shape[-1]).mean(axis=0)


def transfer_matrix(
    measured: Mapping[str, Any],
    candidates: Sequence[str],
    traits: Sequence[str],
    seed: int,
    *,
    measure: str = CLOSED_FORM_MARGIN,
    samples: int = 0,
    seeds: Sequence[int] | None = None,
    questions: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The matrix of trait of the teacher x trait measured, as `transfer.json` holds it.

    A shift is a student's measure minus the base's, mean over seeds and questions. The measure is
    the closed-form margin in nats, or the share of sampled answers that name the trait, in
    percentage points. The
    lift of a trait is its own student's shift minus the mean of all other students' in the
    column, seed by seed and question by question: what every student shares cancels. Intervals
    are `bootstrap_interval`'s at 95 %, lifts paired over seeds and questions; `p` is
    `permutation_p`'s and `p_holm` is `p` adjusted for the number of traits; `detectable` is
    `detectable_effect`'s, at 80 % power. Where no sampled answer differs in whether it names the
    trait, a bootstrap has nothing to draw from: the interval then reaches as far as Wilson's for
    none of a student's answers.

    Args:
      measured: {"base": float [Q, C], "students": {name: float [N, Q, C]}}, of C candidates on Q
        questions, for N seeds of every student: natural log-probabilities, or shares from 0 to 1.
      candidates: names of the C candidates.
      traits: the columns, candidates all, each with a student of its name.
      seed: of the bootstrap and the permutations.
      measure: which of MEASURES; margins are computed here.
      samples: of shares, how many answers each question got.
      seeds: the students' N seeds; 0 to N - 1 where not given.
      questions: the Q questions, written as they are.
      versions: of the packages, written as they are.

    Returns:
      Plain JSON values, the same for the same input in whatever order the students come:
      "measure", "unit", "students" (traits first, then the rest by name), "traits", "seeds",
      "shift" and "interval" (students x traits), "lift" (by trait), "mean_lift" (over traits),
      "choice_share" (by student and candidate; empty but for margins), "base" ("margin" or "share"
      by trait, "choice_share" by candidate), "questions", "per_question" (the measure: "base" by
      trait [Q], "students" by student and trait [N][Q]), "versions".

    Raises:
      UserError: names are missing or repeated, or shapes do not fit.
    """
    candidates, traits = list(candidates), list(traits)
    base_QxC = np.asarray(measured["base"], np.float64)
    by_name = {k: np.asarray(v, np.float64) for k, v in measured["students"].items()}
    _check_names(candidates, traits, set(by_name))
    students = [*traits, *sorted(set(by_name) - set(traits))]
    _check_shapes(base_QxC, by_name, len(candidates))
    students_MxNxQxC = np.stack([by_name[name] for name in students])
    seeds = list(range(students_MxNxQxC.shape[1])) if seeds is None else [int(s) for s in seeds]
    if len(seeds) != students_MxNxQxC.shape[1]:
        raise UserError(
            f"transfer: {len(seeds)} seeds {seeds} are named, but the students' log-probabilities "
            f"are of {students_MxNxQxC.shape[1]}; name one for each"
        )

    columns = [candidates.index(trait) for trait in traits]
    is_margin = measure == CLOSED_FORM_MARGIN
    base_QxT = values_of(base_QxC, measure)[:, columns]
    values_MxNxQxT = values_of(students_MxNxQxC, measure)[..., columns]
    shifts_MxNxQxT = values_MxNxQxT - base_QxT
    answers = 0 if is_margin else shifts_MxNxQxT[0, ..., 0].size * samples
    base = {"margin" if is_margin else "share": _named(traits, base_QxT.mean(axis=0))}
    chosen = {}
    if is_margin:
        base["choice_share"] = _named(candidates, choice_shares(base_QxC))
        chosen = {name: _named(candidates, choice_shares(by_name[name])) for name in students}
    return {
        "measure": measure,
        "unit": MEASURES[measure],
        "students": students,
        "traits": traits,
        "seeds": seeds,
        "questions": list(questions),
        "shift": shifts_MxNxQxT.mean(axis=(1, 2)).tolist(),
        "interval": [
            [list(_interval(shifts_NxQxT[..., t], seed, answers)) for t in range(len(traits))]
            for shifts_NxQxT in shifts_MxNxQxT
        ],
        "lift": _lifts(shifts_MxNxQxT, traits, seed, answers),
        "mean_lift": _mean_lift(shifts_MxNxQxT, seed, answers),
        "choice_share": chosen,
        "base": base,
        "per_question": {
            "base": _named(traits, base_QxT.T),
            "students": {
                name: _named(traits, np.moveaxis(values_NxQxT, -1, 0))
                for name, values_NxQxT in zip(students, values_MxNxQxT, strict=True)
            },
        },
        "versions": dict(versions or {}),
    }


def _lifts(
    shifts_MxNxQxT: np.ndarray, traits: list[str], seed: int, answers: int
) -> dict[str, dict[str, float]]:
    """The diagonal's lift over its column, by trait; student t is the one of trait t."""
    lifts: dict[str, dict[str, float]] = {}
    for own, trait in enumerate(traits):
        shifts_MxNxQ = shifts_MxNxQxT[..., own]
        lift_NxQ = own_minus_others(shifts_MxNxQ)[own]
        p = permutation_p(shifts_MxNxQ, own, seed)
        lifts[trait] = {**estimate(lift_NxQ, seed, answers), "p": p}
    adjusted = holm([lift["p"] for lift in lifts.values()])
    for lift, p_holm in zip(lifts.values(), adjusted, strict=True):
        lift["p_holm"] = p_holm
    return lifts


def _mean_lift(shifts_MxNxQxT: np.ndarray, seed: int, answers: int) -> dict[str, float]:
    """The mean over traits of the diagonal's lifts, with its own interval and p."""
    traits = shifts_MxNxQxT.shape[-1]
    lifts_MxNxQxT = own_minus_others(shifts_MxNxQxT)
    mean_NxQ = np.mean([lifts_MxNxQxT[own, ..., own] for own in range(traits)], axis=0)
    p = permutation_p_of_mean(shifts_MxNxQxT, seed)
    return {**estimate(mean_NxQ, seed, answers), "p": p}


def estimate(values_NxQ: np.ndarray, seed: int, answers: int) -> dict[str, float]:
    """A mean over seeds and questions, and how sure it is.

    Args:
      values_NxQ: one value for each of N seeds and Q questions.
      seed: of the bootstrap.
      answers: of shares, how many sampled answers are behind all values; 0 for margins.

    Returns:
      "value", "low" and "high" at 95 %, and "detectable", as in `transfer_matrix`.
    """
    low, high = _interval(values_NxQ, seed, answers)
    seen = max(detectable_effect(values_NxQ, seed), _none_seen(values_NxQ, answers))
    return {"value": float(values_NxQ.mean()), "low": low, "high": high, "detectable": seen}


def values_of(measured: np.ndarray, measure: str) -> np.ndarray:
    """The measure itself, margins or percentages [..., C], of log-probabilities or shares."""
    return margins(measured) if measure == CLOSED_FORM_MARGIN else 100 * measured


def _interval(values_NxQ: np.ndarray, seed: int, answers: int) -> tuple[float, float]:
    """The bootstrap's, or where there is nothing to draw from as far as chance may hide it."""
    low, high = bootstrap_interval(values_NxQ, seed)
    hidden = _none_seen(values_NxQ, answers)
    return low - hidden, high + hidden


def _none_seen(values_NxQ: np.ndarray, answers: int) -> float:
    """The highest share, in percent, that so many answers may never show; 0 where they do show."""
    if not answers or np.ptp(values_NxQ) > 0:
        return 0.0
    return 100 * wilson_interval(0.0, answers)[1]


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))


def _check_names(candidates: list[str], traits: list[str], students: set[str]) -> None:
    for kind, names in (("candidate", candidates), ("trait", traits)):
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise UserError(f"transfer: {kind} {', '.join(repeated)} is repeated; name it once")
    if len(candidates) < 2 or not traits or len(students) < 2:
        raise UserError(
            f"transfer: {len(candidates)} candidates, {len(traits)} traits and {len(students)} "
            "students make no matrix; there must be two candidates, a trait and two students"
        )
    for trait in traits:
        if trait not in candidates:
            raise UserError(f"transfer: trait {trait} is not among the candidates; add it there")
        if trait not in students:
            raise UserError(f"transfer: trait {trait} has no student; train one or drop the trait")


def _check_shapes(base_QxC: np.ndarray, students: Mapping[str, np.ndarray], count: int) -> None:
    if base_QxC.ndim != 2 or base_QxC.shape[1] != count or not np.isfinite(base_QxC).all():
        raise UserError(
            f"transfer: the base's log-probabilities {base_QxC.shape} must be finite numbers over "
            f"questions x {count} candidates; evaluate the base again"
        )
    for name, values in students.items():
        fits = values.ndim == 3 and values.shape[1:] == base_QxC.shape and len(values) > 0
        if not fits or not np.isfinite(values).all():
            raise UserError(
                f"transfer: student {name}'s log-probabilities {values.shape} must be finite "
                f"numbers over seeds x questions x candidates, with {base_QxC.shape} as in the "
                "base; evaluate it again"
            )
    counts = {name: len(values) for name, values in students.items()}
    if len(set(counts.values())) > 1:
        raise UserError(
            f"transfer: students were evaluated for unequal numbers of seeds, {counts}; evaluate "
            "the seeds that lack"
        )
