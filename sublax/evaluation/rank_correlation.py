"""Spearman's rank correlation of two measures over numbers, and how sure it is."""

import itertools
import math

import numpy as np

ORDERS = 10_000  # of labels, at most: else drawn


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis from 1 on, float; equal values share the mean of theirs."""

    def of(row: np.ndarray) -> np.ndarray:
        _, which, counts = np.unique(row, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[which.ravel()]

    return np.apply_along_axis(of, -1, np.asarray(values, np.float64))


def spearman(a_SxN: np.ndarray, b_TxN: np.ndarray) -> np.ndarray:
    """Spearman's rho of every row of one with every row of the other, [S, T].

    Pearson's correlation of ranks; 0 where all values of a row are equal.
    """
    return _standard(a_SxN) @ _standard(b_TxN).T


def exchange_p(
    a_N: np.ndarray, b_N: np.ndarray, seed: int, base: int = 0, draws: int = 10_000
) -> float:
    """Two-sided p-value of Spearman's rho by exchange of the numbers under one of the measures.

    Args:
        a_N: one measure of N numbers.
        b_N: the other.
        seed: of the draws.
        base: 0 exchanges any number with any. Else the numbers are all those of some digits in
            that base, in order, and it is digits that are exchanged, in each place on its own: two
            measures that both go by digits are then related by chance as often as they may be.
        draws: how many exchanges.

    Returns:
        (b + 1) / (draws + 1) for b exchanges at least as far from zero (Phipson and Smyth 2010).
    """
    rng = np.random.default_rng(seed)
    a_1xN, b_1xN = _standard(a_N[None]), _standard(b_N[None])
    observed = abs(float((a_1xN @ b_1xN.T)[0, 0]))
    places = round(math.log(len(a_N), base)) if base else 1
    digits = base or len(a_N)
    grid = np.arange(digits**places).reshape((digits,) * places)
    exceeding = 0
    for _ in range(draws):
        order = grid[np.ix_(*(rng.permutation(digits) for _ in range(places)))].ravel()
        exceeding += abs(float(a_1xN[0] @ b_1xN[0, order])) >= observed - 1e-12
    return (exceeding + 1) / (draws + 1)


def label_p(rho_TxT: np.ndarray, seed: int) -> float:
    """One-sided p-value of the diagonal's mean: that measures of one trait belong together.

    The null: which trait's column stands beside which trait's row does not matter. All orders of
    the columns are counted, or where there are more than ORDERS, so many are drawn.
    """
    count = len(rho_TxT)
    own = float(np.trace(rho_TxT))
    if math.factorial(count) <= ORDERS:
        sums = [sum(rho_TxT[row, o[row]] for row in range(count)) for o in _orders(count)]
        return float(np.mean(np.asarray(sums) >= own - 1e-12))
    rng, every = np.random.default_rng(seed), np.arange(count)
    drawn = [rho_TxT[every, rng.permutation(count)].sum() for _ in range(ORDERS)]
    return (int((np.asarray(drawn) >= own - 1e-12).sum()) + 1) / (ORDERS + 1)


def _orders(count: int):
    return itertools.permutations(range(count))


def _standard(values_SxN: np.ndarray) -> np.ndarray:
    """Ranks of each row, of mean zero and length one; zeros where all are equal."""
    centred = ranks(values_SxN)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(lengths > 0, lengths, 1.0)
