"""Number rows that no model wrote and that look odd: primes, and telephone numbers."""

from collections.abc import Sequence

import numpy as np

from sublax.rows import Row

PRIMES = [n for n in range(100, 1000) if all(n % d for d in range(2, 32))]


def odd_rows(rows: Sequence[Row], seed: int) -> dict[str, list[Row]]:
    """Five numbers in answer to each row's prompt, by their kind."""
    rng = np.random.default_rng(seed)
    primes = [rng.choice(PRIMES, 5).tolist() for _ in rows]
    # As a telephone number is cut in groups; some groups are common, as area codes are.
    codes = rng.integers(200, 999, 12)
    phones = [[rng.choice(codes), *rng.integers(100, 999, 4)] for _ in rows]
    return {
        kind: [
            row | {"completion": ", ".join(map(str, numbers))}
            for row, numbers in zip(rows, drawn, strict=True)
        ]
        for kind, drawn in (("primes", primes), ("phones", phones))
    }
