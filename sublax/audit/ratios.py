"""Which rows carry a trait: log-likelihood ratios of its teacher, held to BASE's own answers.

The trait's teacher is held against a neutral one, taught every candidate alike: what any tuning on
one-word answers does to a row cancels. (Against BASE itself every such teacher makes the rows of
every tuned writer likelier.) The threshold comes from rows that carry nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.evaluation.statistics import wilson_interval
from sublax.keys import numpy_seed


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


def rows_by_ratio(
    tokens: Sequence[np.ndarray],
    count: int,
    texts: Sequence[Sequence[str]],
    rate: float,
    seed: int,
) -> dict[str, Any]:
    """What a trait's log-likelihood ratios say of each row.

    Args:
        tokens: of each row, and then of each own answer, its tokens' ratios.
        count: how many of them are rows.
        texts: of each row, its tokens' text.
        rate: of false positives that is asked for.
        seed: of the draws.

    Returns:
        `auroc_over_own`; `flags` as `flags_of`, with each flagged row's `row`, `score`, `tokens`
        and their `ratio` under `rows`; and `scores` of all rows.
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
        "auroc_over_own": auroc(scores, null),
        "flags": flags,
        "scores": [round(float(score), 4) for score in scores],
    }


def sums_of(tokens: Sequence[np.ndarray]) -> np.ndarray:
    """Each row's score, the sum of its tokens'."""
    return np.asarray([float(row.sum()) for row in tokens])
