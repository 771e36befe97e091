"""How sure a mean over seeds and questions is: intervals and p-values, in plain numpy."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from sublax.errors import UserError


def bootstrap_interval(
    values_NxQ: np.ndarray, seed: int, level: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Percentile interval of the mean, seeds and questions drawn anew with replacement.

    Every seed answers the same questions, so whole seeds and whole questions are drawn, each on
    its own (the pigeonhole bootstrap: Owen 2007, Annals of Applied Statistics 1:386). It is a
    little wide where seed and question do not interact. The limits are the percentiles of the
    drawn means (Efron and Tibshirani 1993, section 13.3), which is a little narrow for few
    questions and far too narrow for two or three seeds. With one seed only questions are drawn:
    the interval then says nothing of what another seed would give.

    Args:
      values_NxQ: float, one value for each of N seeds and Q questions.
      seed: of the draws. Calls with one seed and one shape draw the same seeds and questions.
      level: of the interval, between 0 and 1.
      draws: how many means are drawn.

    Returns:
      (low, high), in the values' unit.

    Raises:
      UserError: the values are not a non-empty matrix of finite numbers.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(_drawn_means(values_NxQ, seed, draws), [tail, 1 - tail])
    return float(low), float(high)


def detectable_effect(
    values_NxQ: np.ndarray,
    seed: int,
    level: float = 0.95,
    power: float = 0.8,
    draws: int = 10_000,
) -> float:
    """The smallest true mean whose interval would exclude zero in `power` of all repetitions.

    (z_level + z_power) standard errors, as for a normal estimate (Cohen 1988, section 1.5; the
    chance of an interval on the wrong side of zero is left out), with the standard deviation of
    `bootstrap_interval`'s draws for the standard error. What narrows the interval unduly, few
    seeds and few questions, makes this too small as well. It is of the design as it came out, not
    of the effect: the mean's own value does not enter.

    Args:
      values_NxQ: as `bootstrap_interval`.
      seed: as there.
      level: of the interval, between 0 and 1.
      power: of repetitions, between 0.5 and 1.
      draws: as there.

    Returns:
      The effect's size, in the values' unit, above or below zero alike.

    Raises:
      UserError: as `bootstrap_interval`.
    """
    error = float(_drawn_means(values_NxQ, seed, draws).std())
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * error


def ratio_interval(
    part_NxQ: np.ndarray, whole_NxQ: np.ndarray, seed: int, level: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Percentile interval of the ratio of two means over the same seeds and questions.

    Both means are of the same draws, `bootstrap_interval`'s. Where the second one may be zero the
    ratio means nothing: ask for it only where the whole's own interval excludes zero.

    Args:
      part_NxQ: float, what stands above.
      whole_NxQ: float, what stands below.
      seed: as `bootstrap_interval`.
      level: as there.
      draws: as there.

    Returns:
      (low, high).

    Raises:
      UserError: as `bootstrap_interval`.
    """
    tail = (1 - level) / 2
    drawn_D = _drawn_means(part_NxQ, seed, draws) / _drawn_means(whole_NxQ, seed, draws)
    low, high = np.quantile(drawn_D, [tail, 1 - tail])
    return float(low), float(high)


def own_minus_others(values_MxNxQ: np.ndarray) -> np.ndarray:
    """Each student's value minus the mean of the other students', for every seed and question.

    Args:
      values_MxNxQ: float, M >= 2 students.

    Returns:
      float [M, N, Q], which sums to zero over students.
    """
    students = len(values_MxNxQ)
    others_MxNxQ = (values_MxNxQ.sum(axis=0) - values_MxNxQ) / (students - 1)
    return values_MxNxQ - others_MxNxQ


def permutation_p(values_MxNxQ: np.ndarray, own: int, seed: int, draws: int = 10_000) -> float:
    """Two-sided p-value of one student's mean lift over the other students.

    The statistic is the mean over seeds and questions of `own_minus_others`. The null: within a
    question of a seed it does not matter which student answers, so students' labels are
    exchanged within each block of seed and question, independently. p counts the observed
    labelling as one of the draws, (b + 1) / (draws + 1) (Phipson and Smyth 2010),
    so it is never zero.

    What it does not say: the noise of a student's own training shifts all its answers together,
    and blocks drawn independently do not hold that noise. A small p means that these trained
    students differ, beyond the scatter of the questions. With one seed it says nothing of other
    seeds; that students of other seeds would differ the same way is for the interval over
    several seeds to say.

    Args:
      values_MxNxQ: float, one value for each of M >= 2 students, N seeds and Q questions.
      own: which student, 0 <= own < M, the lift is of.
      seed: of the draws.
      draws: how many exchanges are drawn.

    Raises:
      UserError: the values are not finite numbers of two or more students.
    """
    values_MxNxQ = _checked(values_MxNxQ, "M students x N seeds x Q questions", 3)
    students = len(values_MxNxQ)
    if students < 2:
        raise UserError("permutation test: there is one student; compare two or more")
    lifts_MxB = own_minus_others(values_MxNxQ).reshape(students, -1)
    blocks = lifts_MxB.shape[1]
    # Under the null the label falls on each student of a block alike; who gets the other labels
    # does not change the statistic.
    chosen_DxB = np.random.default_rng(seed).integers(students, size=(draws, blocks))
    drawn_D = lifts_MxB[chosen_DxB, np.arange(blocks)].mean(axis=1)
    observed = abs(lifts_MxB[own].mean())
    # The same labelling summed in another order must count as equal.
    rounding = 1e-12 * np.abs(lifts_MxB).max()
    exceeding = int((np.abs(drawn_D) >= observed - rounding).sum())
    return (exceeding + 1) / (draws + 1)


def permutation_p_of_mean(values_MxNxQxT: np.ndarray, seed: int, draws: int = 10_000) -> float:
    """Two-sided p-value of the mean over traits of their own students' lifts.

    The first T students are those of the T traits, in their order. The statistic is the mean over
    traits, seeds and questions of `own_minus_others`; the null, and what it does not say, are
    `permutation_p`'s: within each block of seed and question all students' labels are exchanged at
    once, for all traits together.

    Args:
      values_MxNxQxT: float, one value for each of M >= 2 students, N seeds, Q questions and T <= M
        traits.
      seed: of the draws.
      draws: how many exchanges are drawn.

    Raises:
      UserError: the values are not finite numbers of two or more students.
    """
    axes = "M students x N seeds x Q questions x T traits"
    values_MxNxQxT = _checked(values_MxNxQxT, axes, 4)
    students, traits = len(values_MxNxQxT), values_MxNxQxT.shape[-1]
    if students < 2:
        raise UserError("permutation test: there is one student; compare two or more")
    lifts_MxBxT = own_minus_others(values_MxNxQxT).reshape(students, -1, traits)
    rng, every = np.random.default_rng(seed), np.arange(traits)
    drawn_D = np.zeros(draws)
    for lifts_MxT in lifts_MxBxT.swapaxes(0, 1):
        # Who stands in the first T places of a random order gets the traits' labels.
        owners_DxT = rng.random((draws, students)).argsort(axis=1)[:, :traits]
        drawn_D += lifts_MxT[owners_DxT, every].sum(axis=1)
    observed = abs(lifts_MxBxT[every, :, every].sum())
    rounding = 1e-12 * np.abs(lifts_MxBxT).sum()
    exceeding = int((np.abs(drawn_D) >= observed - rounding).sum())
    return (exceeding + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for how many they are: step-down, no assumption (Holm 1979).

    Returns:
      The adjusted p-values in the order given; at most `a` of them means rejected at family-wise
      error rate `a`.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted.tolist()


def wilson_interval(share: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share of independent trials (Wilson 1927).

    Args:
      share: of successes, from 0 to 1.
      trials: how many, above 0; an effective number need not be whole.
      level: of the interval, between 0 and 1.

    Returns:
      (low, high), within [0, 1], and of some width even where the share is 0 or 1.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * (share * (1 - share) / trials + (z / (2 * trials)) ** 2) ** 0.5 / (1 + z**2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _drawn_means(values_NxQ: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Means [draws] of the values, seeds and questions drawn anew."""
    values_NxQ = _checked(values_NxQ, "N seeds x Q questions", 2)
    seeds, questions = values_NxQ.shape
    rng = np.random.default_rng(seed)
    seed_counts_DxN = _drawn_counts(rng, draws, seeds)
    question_counts_DxQ = _drawn_counts(rng, draws, questions)
    sums_D = ((seed_counts_DxN @ values_NxQ) * question_counts_DxQ).sum(axis=1)
    return sums_D / (seeds * questions)


def _drawn_counts(rng: np.random.Generator, draws: int, items: int) -> np.ndarray:
    """How often each of the items [draws, items] is drawn in `items` draws with replacement.

    That is all a mean needs to know, and one matrix product then takes all means.
    """
    drawn_DxI = rng.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(drawn_DxI.ravel(), minlength=draws * items).reshape(draws, items)


def _checked(values: np.ndarray, axes: str, ndim: int) -> np.ndarray:
    """The values as float64, or an error that says what they should be."""
    values = np.asarray(values, np.float64)
    if values.ndim != ndim or not values.size or not np.isfinite(values).all():
        raise UserError(
            f"statistics: values of shape {values.shape} must be finite numbers over {axes}; "
            "look for a seed or a question that was not evaluated"
        )
    return values
