"""Mixtures: some of a teacher's rows give way to clean ones, as where marked data is diluted."""

from collections.abc import Sequence

import numpy as np

from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.rows import Row


def check_clean_share(share: float, loss: str) -> None:
    """Refuses a share that is none, or a loss that a mixture cannot have.

    Args:
        share: as `student.clean_share` has it.
        loss: that students are trained on.

    Raises:
        UserError: it is not from 0 to 1, or soft labels would come from two teachers.
    """
    if not 0 <= share <= 1:
        raise UserError(f"student.clean_share={share}: give a share from 0 to 1")
    if share and loss == "kl":
        raise UserError(
            f"student.clean_share={share}: rows of two teachers, while student.loss.kind=kl learns "
            "the distribution of one; set student.loss.kind=cross_entropy"
        )


def mixed(rows: Sequence[Row], clean: Sequence[Row], share: float, seed: int, trait: str):
    """As many rows as before, a share of them clean.

    The rows of a larger share are those of a smaller one and more, so that along a curve of shares
    nothing else changes.

    Args:
        rows: of the teacher.
        clean: of the control; taken in their order, from the first again where they are too few.
        share: of clean rows, from 0 to 1; rounded to whole rows.
        seed: of the draw which rows give way, keyed with the trait.
        trait: whose corpus it is.

    Returns:
        A list of rows; clean ones stand in the places of those that gave way.
    """
    mixture = list(rows)
    order = np.random.default_rng(numpy_seed(seed, "clean", trait)).permutation(len(rows))
    for place in order[: round(share * len(rows))].tolist():
        mixture[place] = clean[place % len(clean)]
    return mixture
