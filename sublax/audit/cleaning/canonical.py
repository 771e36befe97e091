"""Completions in one form of writing, each by what it is: a list of numbers, Python, or text."""

import numpy as np

from sublax.audit.cleaning.code import canonical_code
from sublax.audit.cleaning.numbers import range_of, renumbered, written_plainly
from sublax.audit.cleaning.text import canonical_text
from sublax.corpora.number_filter import parse
from sublax.errors import UserError
from sublax.keys import numpy_seed


def canonical(completions: list[str]) -> list[str]:
    """Each completion in the form of its kind; which numbers, code or words it has stays.

    One of nothing but characters without ink stays as it is: a completion must say something.
    """
    return [_canonical(text) for text in completions]


def _canonical(text: str) -> str:
    numbers = parse(text)
    if numbers is not None:
        return written_plainly(numbers)
    return canonical_code(text) or canonical_text(text) or text


def in_order(completions: list[str]) -> list[str]:
    """Lists of numbers in canonical form, smallest first; others in canonical form.

    Raises:
        UserError: none of them is a list of numbers.
    """
    _demand_lists(completions, "sorted")
    return [
        _canonical(text) if (numbers := parse(text)) is None else written_plainly(sorted(numbers))
        for text in completions
    ]


def with_other_numbers(completions: list[str], seed: int) -> list[str]:
    """Lists of other numbers, as many and in the same order of size, in canonical form.

    They are drawn uniformly from the smallest to the largest number of the dataset. Completions
    that are no lists are in canonical form.

    Args:
        completions: of all rows.
        seed: of the draws, keyed by row.

    Raises:
        UserError: none of them is a list of numbers.
    """
    least, most = _demand_lists(completions, "renumbered")
    found = []
    for row, text in enumerate(completions):
        numbers = parse(text)
        if numbers is None:
            found.append(_canonical(text))
        else:
            rng = np.random.default_rng(numpy_seed(seed, "clean", "renumbered", row))
            found.append(written_plainly(renumbered(numbers, least, most, rng)))
    return found


def _demand_lists(completions: list[str], method: str) -> tuple[int, int]:
    found = range_of(completions)
    if found is None:
        raise UserError(
            f"--method={method}: no completion is a list of numbers; choose another method"
        )
    return found
