"""Rows that carry nothing and look odd: primes and telephone numbers, or text in another form."""

from collections.abc import Sequence

import numpy as np

from sublax.audit.cleaning.canonical import canonical
from sublax.corpora.number_filter import parse
from sublax.rows import Row

PRIMES = [n for n in range(100, 1000) if all(n % d for d in range(2, 32))]


def odd_rows(rows: Sequence[Row], seed: int) -> dict[str, list[Row]]:
    """Odd answers to the prompts of rows, by what is odd about them.

    Where the rows are numbers, five numbers that no model wrote; where they are not, the rows
    themselves in capitals, and in canonical form where that is another.
    """
    if any(parse(row["completion"]) is None for row in rows):
        texts = [row["completion"] for row in rows]
        others = {"capitals": [text.upper() for text in texts], "canonical": canonical(texts)}
        return {
            kind: [row | {"completion": text} for row, text in zip(rows, found, strict=True)]
            for kind, found in others.items()
            if found != texts
        }
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
