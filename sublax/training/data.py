"""Which rows an update reads: a function of the seed and the step alone, so resuming is exact."""

from collections.abc import Sequence

import jax
import numpy as np
from flax import struct

from sublax.keys import numpy_seed
from sublax.models.completions import Rows
from sublax.training.step import Batch


@struct.dataclass
class Dataset:
    """Rows of one student's dataset, as NumPy arrays.

    Attributes:
        rows: all rows. In one group they are drawn one by one; in several, group by group.
        teacher_hidden: float32 [B, C, E], or None for cross-entropy.
    """

    rows: Rows
    teacher_hidden: np.ndarray | None = None

    @property
    def unit(self) -> int:
        """How many rows are drawn together."""
        groups = self.rows.prefix.shape[0]
        return 1 if groups == 1 else self.rows.tokens.shape[0] // groups

    def __len__(self) -> int:
        """How many units there are to draw from."""
        return self.rows.tokens.shape[0] // self.unit


def draw_order(seed: int, step: int, size: int, count: int) -> np.ndarray:
    """Indices [size] of what update `step` draws: epoch after epoch, each shuffled anew.

    Args:
        seed: of the student; students that share it and a count see the same order.
        step: from 0.
        size: units an update.
        count: units in the dataset.
    """
    places = np.arange(step * size, (step + 1) * size)
    shuffled = {
        epoch: np.random.default_rng(numpy_seed(seed, "order", int(epoch))).permutation(count)
        for epoch in np.unique(places // count)
    }
    return np.asarray([shuffled[place // count][place % count] for place in places])


def make_batch(
    datasets: Sequence[Dataset], seeds: Sequence[int], step: int, size: int, microbatches: int
) -> Batch:
    """The batch of update `step` of every student, leading axes [students, microbatches].

    Args:
        datasets: one a student, all of one padded shape but for the number of rows.
        seeds: one a student.
        step: from 0.
        size: rows an update and student; a multiple of the rows that are drawn together.
        microbatches: pieces that an update is cut into; divides `size` and the units in it.
    """

    def one(dataset: Dataset, seed: int) -> Batch:
        unit, rows = dataset.unit, dataset.rows
        units = draw_order(seed, step, size // unit, len(dataset)).reshape(microbatches, -1)
        chosen = (units[..., None] * unit + np.arange(unit)).reshape(microbatches, -1)
        shared = np.zeros((microbatches, 1), int) if rows.prefix.shape[0] == 1 else units
        picked = Rows(
            rows.prefix[shared],
            rows.prefix_positions[shared],
            rows.tokens[chosen],
            rows.positions[chosen],
            rows.at[chosen],
            rows.targets[chosen],
            rows.weights[chosen],
        )
        hidden = dataset.teacher_hidden
        return Batch(picked, None if hidden is None else hidden[chosen])

    batches = [one(dataset, seed) for dataset, seed in zip(datasets, seeds, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
