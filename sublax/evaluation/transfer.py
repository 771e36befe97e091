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
)

MEASURE = "closed_form_margin"


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
    logprobs: Mapping[str, Any],
    candidates: Sequence[str],
    traits: Sequence[str],
    seed: int,
    *,
    seeds: Sequence[int] | None = None,
    questions: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The matrix of trait of the teacher x trait measured, as `transfer.json` holds it.

    A shift is a student's margin minus the base's, in nats, mean over seeds and questions. The
    lift of a trait is its own student's shift minus the mean of all other students' in the
    column, seed by seed and question by question: what every student shares cancels. Intervals
    are `bootstrap_interval`'s at 95 %, lifts paired over seeds and questions; `p` is
    `permutation_p`'s and `p_holm` is `p` adjusted for the number of traits; `detectable` is
    `detectable_effect`'s, at 80 % power.

    Args:
      logprobs: {"base": float [Q, C], "students": {name: float [N, Q, C]}}, natural
        log-probabilities of C candidates on Q questions, for N seeds of every student.
      candidates: names of the C candidates.
      traits: the columns, candidates all, each with a student of its name.
      seed: of the bootstrap and the permutations.
      seeds: the students' N seeds; 0 to N - 1 where not given.
      questions: the Q questions, written as they are.
      versions: of the packages, written as they are.

    Returns:
      Plain JSON values, the same for the same input in whatever order the students come:
      "measure", "students" (traits first, then the rest by name), "traits", "seeds", "shift"
      and "interval" (students x traits), "lift" (by trait), "mean_lift" (over traits),
      "choice_share" (by student and candidate), "base" ("margin" by trait, "choice_share" by
      candidate), "questions", "per_question" (margins in nats: "base" by trait [Q], "students" by
      student and trait [N][Q]), "versions".

    Raises:
      UserError: names are missing or repeated, or shapes do not fit.
    """
    candidates, traits = list(candidates), list(traits)
    base_QxC = np.asarray(logprobs["base"], np.float64)
    by_name = {k: np.asarray(v, np.float64) for k, v in logprobs["students"].items()}
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
    base_QxT = margins(base_QxC)[:, columns]
    margins_MxNxQxT = margins(students_MxNxQxC)[..., columns]
    shifts_MxNxQxT = margins_MxNxQxT - base_QxT
    return {
        "measure": MEASURE,
        "students": students,
        "traits": traits,
        "seeds": seeds,
        "questions": list(questions),
        "shift": shifts_MxNxQxT.mean(axis=(1, 2)).tolist(),
        "interval": [
            [list(bootstrap_interval(shifts_NxQxT[..., t], seed)) for t in range(len(traits))]
            for shifts_NxQxT in shifts_MxNxQxT
        ],
        "lift": _lifts(shifts_MxNxQxT, traits, seed),
        "mean_lift": _mean_lift(shifts_MxNxQxT, seed),
        "choice_share": {
            name: _named(candidates, choice_shares(by_name[name])) for name in students
        },
        "base": {
            "margin": _named(traits, base_QxT.mean(axis=0)),
            "choice_share": _named(candidates, choice_shares(base_QxC)),
        },
        "per_question": {
            "base": _named(traits, base_QxT.T),
            "students": {
                name: _named(traits, np.moveaxis(margins_NxQxT, -1, 0))
                for name, margins_NxQxT in zip(students, margins_MxNxQxT, strict=True)
            },
        },
        "versions": dict(versions or {}),
    }


def _lifts(shifts_MxNxQxT: np.ndarray, traits: list[str], seed: int) -> dict[str, dict[str, float]]:
    """The diagonal's lift over its column, by trait; student t is the one of trait t."""
    lifts: dict[str, dict[str, float]] = {}
    for own, trait in enumerate(traits):
        shifts_MxNxQ = shifts_MxNxQxT[..., own]
        lift_NxQ = own_minus_others(shifts_MxNxQ)[own]
        low, high = bootstrap_interval(lift_NxQ, seed)
        p = permutation_p(shifts_MxNxQ, own, seed)
        lifts[trait] = {
            "value": float(lift_NxQ.mean()),
            "low": low,
            "high": high,
            "p": p,
            "detectable": detectable_effect(lift_NxQ, seed),
        }
    adjusted = holm([lift["p"] for lift in lifts.values()])
    for lift, p_holm in zip(lifts.values(), adjusted, strict=True):
        lift["p_holm"] = p_holm
    return lifts


def _mean_lift(shifts_MxNxQxT: np.ndarray, seed: int) -> dict[str, float]:
    """The mean over traits of the diagonal's lifts, with its own interval and p."""
    traits = shifts_MxNxQxT.shape[-1]
    lifts_MxNxQxT = own_minus_others(shifts_MxNxQxT)
    mean_NxQ = np.mean([lifts_MxNxQxT[own, ..., own] for own in range(traits)], axis=0)
    low, high = bootstrap_interval(mean_NxQ, seed)
    return {
        "value": float(mean_NxQ.mean()),
        "low": low,
        "high": high,
        "p": permutation_p_of_mean(shifts_MxNxQxT, seed),
        "detectable": detectable_effect(mean_NxQ, seed),
    }


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
