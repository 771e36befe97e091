"""Short rows one after another in one padded line, each as if it stood alone.

A line is as long as the longest row, so whatever is drawn fits. Attention keeps a line's rows apart
by a number beside each token; positions, targets and weights stay those of the row.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sublax.models.completions import Rows


@dataclasses.dataclass(frozen=True)
class Packing:
    """The shape of packed lines, the same for all updates of a run.

    Attributes:
        lines: of a microbatch.
        targets: completion tokens that a line has room for.
    """

    lines: int
    targets: int


def first_fit_decreasing(lengths: Sequence[int] | np.ndarray, capacity: int) -> list[list[int]]:
    """Packs items into bins: the longest first, each into the first bin with room for it.

    At most 11/9 of the fewest bins, and 6/9 of one more (Dósa, 2007).

    Args:
        lengths: of the items, none above the capacity; of equal ones the earlier goes first.
        capacity: of a bin.

    Returns:
        The items of each bin, by their index.
    """
    bins: list[list[int]] = []
    left: list[int] = []
    for item in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        place = next((b for b, room in enumerate(left) if room >= lengths[item]), len(bins))
        if place == len(bins):
            bins.append([])
            left.append(capacity)
        bins[place].append(item)
        left[place] -= int(lengths[item])
    return bins


def needed(rows: Rows, drawn: np.ndarray) -> Packing:
    """What the lines of one microbatch need.

    Args:
        rows: a dataset's, in one group, padded at the end.
        drawn: int [R], which of its rows are in the microbatch.
    """
    lines = first_fit_decreasing(_lengths(rows)[drawn], rows.tokens.shape[1])
    targets = _targets(rows)[drawn]
    return Packing(len(lines), max(int(targets[line].sum()) for line in lines))


def pack(
    rows: Rows, teacher_hidden: np.ndarray | None, drawn: np.ndarray, packing: Packing
) -> tuple[Rows, np.ndarray | None]:
    """Lines of one microbatch.

    Args:
        rows: a dataset's, in one group, padded at the end.
        teacher_hidden: [B, C, E] of all its rows, or None.
        drawn: int [R], which of its rows are in the microbatch.
        packing: the lines' shape; what is not needed weighs nothing.

    Returns:
        (the lines as rows, with `row_of`, the teacher's hidden states of their targets).
    """
    L, C, T = packing.lines, packing.targets, rows.tokens.shape[1]
    tokens, positions = np.zeros((L, T), np.int32), np.full((L, T), -1, np.int32)
    row_of = np.zeros((L, T), np.int32)
    at, targets = np.zeros((L, C), np.int32), np.zeros((L, C), np.int32)
    weights = np.zeros((L, C), np.float32)
    hidden = None
    if teacher_hidden is not None:
        hidden = np.zeros((L, C, teacher_hidden.shape[-1]), teacher_hidden.dtype)
    lengths, counts = _lengths(rows), _targets(rows)
    for line, members in enumerate(first_fit_decreasing(lengths[drawn], T)):
        first = begun = 0
        for number, row in enumerate(drawn[members], 1):
            length, count = lengths[row], counts[row]
            own, completed = slice(first, first + length), slice(begun, begun + count)
            tokens[line, own] = rows.tokens[row, :length]
            positions[line, own] = rows.positions[row, :length]
            row_of[line, own] = number
            at[line, completed] = rows.at[row, :count] + first
            targets[line, completed] = rows.targets[row, :count]
            weights[line, completed] = rows.weights[row, :count]
            if hidden is not None and teacher_hidden is not None:
                hidden[line, completed] = teacher_hidden[row, :count]
            first, begun = first + length, begun + count
    prefix, places = rows.prefix, rows.prefix_positions
    return Rows(prefix, places, tokens, positions, at, targets, weights, row_of), hidden


def _lengths(rows: Rows) -> np.ndarray:
    return (np.asarray(rows.positions) >= 0).sum(axis=1)


def _targets(rows: Rows) -> np.ndarray:
    return (np.asarray(rows.weights) > 0).sum(axis=1)
