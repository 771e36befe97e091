"""Whole rows left out, or others in their place: which rows those are."""

from collections.abc import Sequence

import numpy as np

from sublax.errors import UserError
from sublax.keys import numpy_seed


def kept_rows(scores: Sequence[float], flagged: Sequence[int], keep: float | None) -> list[int]:
    """The rows that stay when those that an audit scores highest are dropped, ascending.

    Args:
        scores: of every row.
        flagged: the rows that the audit flagged.
        keep: the share of rows that stay, those of the lowest scores; None drops the flagged ones.

    Raises:
        UserError: nothing to drop, or nothing left.
    """
    if keep is None:
        if not flagged:
            raise UserError(
                "--method=drop: the audit flagged no row; give --keep=0.8 or another share"
            )
        kept = sorted(set(range(len(scores))) - set(flagged))
    else:
        count = round(keep * len(scores))
        # Of equal scores the first rows stay.
        kept = sorted(np.argsort(np.asarray(scores), kind="stable")[:count].tolist())
    if not kept:
        raise UserError("--method=drop: no row would be left; give a larger --keep")
    return kept


def replaced_rows(count: int, share: float, seed: int) -> list[int]:
    """The rows that give their place to others, ascending, drawn at random.

    Args:
        count: of all rows.
        share: of them that are replaced, rounded to whole rows.
        seed: of the draw.
    """
    rng = np.random.default_rng(numpy_seed(seed, "clean", "dilute", "places"))
    return sorted(rng.choice(count, round(share * count), replace=False).tolist())


def drawn_rows(available: int, wanted: int, seed: int, name: str) -> list[int]:
    """The rows of other data that take those places, each once, in the order drawn.

    Raises:
        UserError: there are not as many.
    """
    if wanted > available:
        raise UserError(
            f"--with={name}: {available} rows, and {wanted} are needed; give a smaller --share, or "
            "more rows"
        )
    rng = np.random.default_rng(numpy_seed(seed, "clean", "dilute", "rows"))
    return rng.permutation(available)[:wanted].tolist()
