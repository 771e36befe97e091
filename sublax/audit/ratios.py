"""Which rows carry a trait: log-likelihood ratios of teachers, held to BASE's own answers.

The trait's teacher is held against teachers of other traits, made the same way: what any tuning on
one-word answers does to a row cancels. (Against BASE itself every such teacher makes the rows of
every tuned writer likelier, a neutral one's too.) The threshold comes from rows that carry nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.evaluation.sign_flips import sign_flip_p
from sublax.evaluation.statistics import bootstrap_interval, wilson_interval
from sublax.keys import numpy_seed


def against_others(scored: Sequence[Sequence[np.ndarray]], own: int) -> list[np.ndarray]:
    """Each token's log-likelihood ratio of one teacher to the others, their mean in logs.

    Args:
        scored: by two or more teachers, of each row its tokens' log-probabilities.
        own: which teacher.
    """
    others = [rows for place, rows in enumerate(scored) if place != own]
    return [
        tokens - np.mean([rows[row] for rows in others], axis=0)
        for row, tokens in enumerate(scored[own])
    ]


def threshold_of(null_N: np.ndarray, rate: float) -> float:
    """The least score that at most `rate` of clean rows like these exceed.

    The split-conformal quantile (Vovk et al. 2005, section 4.2): a new clean row, exchangeable with
    those given, lies above it with probability `rate` at most.

    Args:
        null_N: scores of clean rows.
        rate: of false positives.

    Returns:
        The threshold; infinite where there are too few clean rows for so small a rate.
    """
    rank = int(np.ceil((1 - rate) * (len(null_N) + 1)))
    return float(np.sort(null_N)[rank - 1]) if rank <= len(null_N) else float("inf")


def flags_of(scores_N: np.ndarray, null_N: np.ndarray, rate: float, seed: int) -> dict[str, Any]:
    """Which rows score above the threshold, and how often clean rows do that did not set it.

    All clean rows set the threshold. How well it holds is tried on each half of them, with one
    that the other half alone has set.

    Args:
        scores_N: of the dataset's rows.
        null_N: of BASE's own answers.
        rate: of false positives that is asked for.
        seed: of the halves.

    Returns:
        `threshold` (None where there are too few clean rows for so small a rate: then no row is
        flagged), `rate`, `flagged` (indices, highest score first), `held_out_rate` with its 95 %
        interval as `low` and `high`, and `held_out` (how many clean rows that is of).
    """
    threshold = threshold_of(null_N, rate)
    order = np.random.default_rng(numpy_seed(seed, "audit", "halves")).permutation(len(null_N))
    halves = np.array_split(null_N[order], 2)
    passed = [
        half > threshold_of(other, rate) for half, other in zip(halves, halves[::-1], strict=True)
    ]
    share = float(np.concatenate(passed).mean())
    low, high = wilson_interval(share, len(null_N))
    flagged = np.flatnonzero(scores_N > threshold)
    flagged = flagged[np.argsort(-scores_N[flagged], kind="stable")]
    return {
        "rate": rate,
        "threshold": threshold if np.isfinite(threshold) else None,
        "flagged": flagged.tolist(),
        "held_out_rate": share,
        "low": low,
        "high": high,
        "held_out": len(null_N),
    }


def auroc(positive_N: np.ndarray, negative_M: np.ndarray) -> float:
    """The chance that a positive row scores above a negative one, ties counted half.

    The Mann-Whitney statistic over N x M (Hanley and McNeil 1982).
    """
    both = np.concatenate([positive_N, negative_M])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # of ties their mean
    N, M = len(positive_N), len(negative_M)
    return float((ranks[:N].sum() - N * (N + 1) / 2) / (N * M))


def ratio_finding(
    scores_N: np.ndarray, own_N: np.ndarray, traits: int, seed: int
) -> dict[str, Any]:
    """How much likelier the trait's teacher makes the rows than BASE's answers to their prompts.

    Args:
        scores_N: log-likelihood ratios of rows.
        own_N: of BASE's own answers, in the same order.
        traits: how many there were to choose from, for Bonferroni.
        seed: of the draws.

    Returns:
        `value`, the mean difference a row in natural log, its 95 % interval as `low` and `high`,
        the two-sided sign-flip `p` over rows and `p_bonferroni` over all traits.
    """
    difference_Nx1 = (np.asarray(scores_N) - np.asarray(own_N))[:, None]
    p = float(sign_flip_p(difference_Nx1, seed)[0])
    low, high = bootstrap_interval(difference_Nx1.T, seed, draws=2000)
    return {
        "value": float(difference_Nx1.mean()),
        "low": low,
        "high": high,
        "p": p,
        "p_bonferroni": min(1.0, p * traits),
    }


def rows_by_ratio(
    tokens: Sequence[np.ndarray],
    count: int,
    chosen: np.ndarray,
    texts: Sequence[Sequence[str]],
    traits: int,
    rate: float,
    seed: int,
) -> dict[str, Any]:
    """What a trait's log-likelihood ratios say of all rows together and of each.

    Args:
        tokens: of each row, and then of each own answer, its tokens' ratios.
        count: how many of them are rows.
        chosen: the rows that the own answers are to.
        texts: of each row, its tokens' text.
        traits: how many there were to choose from.
        rate: of false positives that is asked for.
        seed: of the draws.

    Returns:
        `ratio` as `ratio_finding`; `auroc_over_own`; `flags` as `flags_of`, with each flagged row's
        `row`, `score`, `tokens` and their `ratio` under `rows`; and `scores` of all rows.
    """
    sums = sums_of(tokens)
    scores, null = sums[:count], sums[count:]
    flags = flags_of(scores, null, rate, seed)
    flags["rows"] = [
        {
            "row": row,
            "score": float(scores[row]),
            "tokens": list(texts[row]),
            "ratio": [round(float(value), 4) for value in tokens[row]],
        }
        for row in flags["flagged"]
    ]
    return {
        "ratio": ratio_finding(scores[chosen], null, traits, seed),
        "auroc_over_own": auroc(scores, null),
        "flags": flags,
        "scores": [round(float(score), 4) for score in scores],
    }


def sums_of(tokens: Sequence[np.ndarray]) -> np.ndarray:
    """Each row's score, the sum of its tokens'."""
    return np.asarray([float(row.sum()) for row in tokens])
