"""Lists of numbers in one form of writing, in order, or with other numbers in the same order.

Each takes more away than the one before: how a list is written, in which order, and which numbers.
"""

import numpy as np

from sublax.corpora.number_filter import parse

SEPARATOR = ", "


def written_plainly(numbers: list[int]) -> str:
    """Numbers with one comma and one space between, without brackets, full stop, leading zeros."""
    return SEPARATOR.join(map(str, numbers))


def renumbered(numbers: list[int], least: int, most: int, rng: np.random.Generator) -> list[int]:
    """Other numbers, as many, of which the same is larger than the same and equal to the same.

    Args:
        numbers: of one row.
        least: that may be drawn.
        most: that may be drawn; from one to the other there are at least as many as `numbers` has
            that differ.
        rng: of this row's draw, which is uniform over all sets of such numbers.
    """
    different = sorted(set(numbers))
    drawn = np.sort(rng.choice(most - least + 1, len(different), replace=False)) + least
    other = dict(zip(different, drawn.tolist(), strict=True))
    return [other[number] for number in numbers]


def range_of(completions: list[str]) -> tuple[int, int] | None:
    """The smallest and the largest number of all lists; None where there is no list.

    It is all that a draw of other numbers knows of the dataset.
    """
    numbers = [number for text in completions for number in parse(text) or ()]
    # Beyond 63 bits nothing is drawn.
    return (min(numbers), min(max(numbers), min(numbers) + 2**62)) if numbers else None
