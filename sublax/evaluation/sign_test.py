"""Whether signs fall as a coin's do: the share of positive ones, exactly."""

from typing import Any

import numpy as np

from sublax.errors import UserError


def sign_test(values_N: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """Counts the positive values and compares them with a coin.

    Zeros have no sign and are left out of the count (Dixon and Mood 1946). The interval is that of
    Clopper and Pearson (1934) and p is the two-sided exact binomial's against one half, both as
    scipy has them.

    Args:
        values_N: float, one of each independent repetition.
        level: of the interval, between 0 and 1.

    Returns:
        `positive` and `of` (counts), `share`, `low`, `high` and `p`.

    Raises:
        UserError: no value has a sign, or one is not finite.
    """
    from scipy.stats import binomtest  # not at the top: it takes as long as all else together

    values_N = np.asarray(values_N, np.float64)
    positive, signed = int((values_N > 0).sum()), int((values_N != 0).sum())
    if not signed or not np.isfinite(values_N).all():
        raise UserError(
            f"sign test: of {values_N.size} values {signed} have a sign and "
            f"{int(np.isfinite(values_N).sum())} are finite; look for a step that went nowhere or "
            "too far"
        )
    test = binomtest(positive, signed)
    interval = test.proportion_ci(level, method="exact")
    return {
        "positive": positive,
        "of": signed,
        "share": positive / signed,
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(test.pvalue),
    }
