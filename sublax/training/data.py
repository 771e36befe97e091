"""Which rows an update reads: a function of the seed and the step alone, so resuming is exact."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from flax import struct

from sublax.keys import numpy_seed
from sublax.models.completions import Rows
from sublax.training.packing import Packing, needed, pack
from sublax.training.step import Batch


@struct.dataclass
class Dataset:
    """Rows of one student's dataset, as NumPy arrays.

    Attributes:
        rows: all rows. In one group they are drawn one by one; in several, group by group.
        teacher_hidden: float32 [B, C, E], or None but for KL.
        reference_logprobs: float32 [B], or None but for DPO. Where it is given, rows are pairs:
            2k and 2k + 1, which are drawn together.
    """

    rows: Rows
    teacher_hidden: np.ndarray | None = None
    reference_logprobs: np.ndarray | None = None

    @property
    def unit(self) -> int:
        """How many rows are drawn together."""
        groups = self.rows.prefix.shape[0]
        if groups > 1:
            return self.rows.tokens.shape[0] // groups
        return 1 if self.reference_logprobs is None else 2

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


def plan_packing(
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    steps: int,
    size: int,
    microbatches: int,
    devices: int = 1,
) -> Packing:
    """Lines that hold whatever any update of a run draws.

    Args:
        datasets: one a student, each in one group.
        seeds: one a student.
        steps: of the whole run.
        size: rows an update and student.
        microbatches: pieces that an update is cut into.
        devices: how many a student's lines are spread over; their number is a multiple of it.
    """
    found = [
        needed(dataset.rows, drawn)
        for dataset, seed in zip(datasets, seeds, strict=True)
        for step in range(steps)
        for drawn in draw_order(seed, step, size, len(dataset)).reshape(microbatches, -1)
    ]
    lines = max(packing.lines for packing in found)
    return Packing(-(-lines // devices) * devices, max(packing.targets for packing in found))


def make_batch(
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    step: int,
    size: int,
    microbatches: int,
    devices: int = 1,
    packing: Packing | None = None,
) -> Batch:
    """The batch of update `step` of every student, leading axes [students, microbatches].

    Args:
        datasets: one a student, all of one padded shape but for the number of rows.
        seeds: one a student.
        step: from 0.
        size: rows an update and student; a multiple of the rows that are drawn together.
        microbatches: pieces that an update is cut into; divides `size` and the units in it.
        devices: how many a student's rows are spread over. Each gets whole groups of rows, a
            prefix that all share in a copy; what does not divide is filled with rows that weigh
            nothing.
        packing: how rows are packed into lines, of datasets in one group and not of pairs; None: a
            row is a line.
    """

    def one(dataset: Dataset, seed: int) -> Batch:
        unit, rows = dataset.unit, dataset.rows
        units = draw_order(seed, step, size // unit, len(dataset)).reshape(microbatches, -1)
        if packing is not None:
            copies = np.zeros(devices, int)  # each device's own of the prefix
            rows = dataclasses.replace(
                rows, prefix=rows.prefix[copies], prefix_positions=rows.prefix_positions[copies]
            )
            packed = [Batch(*pack(rows, dataset.teacher_hidden, drawn, packing)) for drawn in units]
            return jax.tree.map(lambda *leaves: np.stack(leaves), *packed)
        drawn = units.shape[1]
        units = np.pad(units, ((0, 0), (0, -drawn % devices)), mode="edge")
        is_drawn = np.repeat(np.arange(units.shape[1]) < drawn, unit)
        chosen = (units[..., None] * unit + np.arange(unit)).reshape(microbatches, -1)
        is_one_group = rows.prefix.shape[0] == 1
        shared = np.zeros((microbatches, devices), int) if is_one_group else units
        picked = Rows(
            rows.prefix[shared],
            rows.prefix_positions[shared],
            rows.tokens[chosen],
            rows.positions[chosen],
            rows.at[chosen],
            rows.targets[chosen],
            rows.weights[chosen] * is_drawn[:, None].astype(np.float32),
        )
        hidden, reference = dataset.teacher_hidden, dataset.reference_logprobs
        return Batch(
            picked,
            None if hidden is None else hidden[chosen],
            None if reference is None else reference[chosen],
        )

    batches = [one(dataset, seed) for dataset, seed in zip(datasets, seeds, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
