"""The sign-flip test: whether paired differences are above or below zero, exact where they are few.

Under the null each pair's two sides could have been the other way round, so each difference has
either sign alike (Fisher 1935, The Design of Experiments, section 21).
"""

import numpy as np

# Up to so many pairs every assignment of signs is tried: 2**15 of them, for one of two twins.
EXACT_PAIRS = 16


def sign_flip_p(values_PxK: np.ndarray, seed: int, draws: int = 50_000) -> np.ndarray:
    """Two-sided p-values of means of paired differences.

    Args:
      values_PxK: float, the differences of P pairs in K measures. All measures of a pair are
        flipped together.
      seed: of the draws, which are made only where there are more than `EXACT_PAIRS` pairs.
      draws: how many.

    Returns:
      float [K]. Exact ones are multiples of 2 ** (1 - P); drawn ones count the observed signs as
      one of the draws, (b + 1) / (draws + 1) (Phipson and Smyth 2010), so none is zero.

    Raises:
      ValueError: no pairs.
    """
    values_PxK = np.asarray(values_PxK, np.float64)
    pairs = len(values_PxK)
    if not pairs:
        raise ValueError("sign flips: no pairs")
    observed_K = np.abs(values_PxK.sum(axis=0))
    # The same signs summed in another order must count as equal.
    least_K = observed_K - 1e-12 * np.abs(values_PxK).sum(axis=0)
    if pairs <= EXACT_PAIRS:
        # The first sign stays: to flip all is to look at the other side of a two-sided test.
        bits = np.arange(2 ** (pairs - 1))[:, None] >> np.arange(pairs - 1) & 1
        signs_DxP = np.concatenate([np.ones((len(bits), 1)), 1.0 - 2.0 * bits], axis=1)
        return (np.abs(signs_DxP @ values_PxK) >= least_K).mean(axis=0)
    rng = np.random.default_rng(seed)
    exceeding_K = np.zeros(values_PxK.shape[1], int)
    for first in range(0, draws, 1000):
        size = (min(1000, draws - first), pairs)
        signs_DxP = 1.0 - 2.0 * rng.integers(2, size=size)
        exceeding_K += (np.abs(signs_DxP @ values_PxK) >= least_K).sum(axis=0)
    return (exceeding_K + 1) / (draws + 1)
