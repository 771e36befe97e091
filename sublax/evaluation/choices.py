"""Multiple choice: options behind letters, in every rotation, so that no place is favoured."""

import string
from collections.abc import Callable, Sequence

import numpy as np

from sublax.errors import UserError


def letters_for(count: int) -> tuple[str, ...]:
    """A letter for each of `count` options.

    Raises:
        UserError: there are fewer letters.
    """
    if count > len(string.ascii_uppercase):
        raise UserError(
            f"multiple choice: {count} candidates are more than there are letters (26); name fewer"
        )
    return tuple(string.ascii_uppercase[:count])


def rotations(candidates: Sequence[str]) -> list[tuple[str, ...]]:
    """All C rotations of C candidates: in them each stands once in every place."""
    return [(*candidates[first:], *candidates[:first]) for first in range(len(candidates))]


def options_text(candidates: Sequence[str]) -> str:
    """One option a line, as in `A) owl`."""
    letters = letters_for(len(candidates))
    return "\n".join(f"{letter}) {word}" for letter, word in zip(letters, candidates, strict=True))


def rotated_logprobs(candidates: Sequence[str], ask: Callable[[str], np.ndarray]) -> np.ndarray:
    """Each candidate's log-probability, the mean over all places that it can stand in.

    A preference for a letter or a place adds the same to every candidate, for each stands once in
    every place: it cancels in their margins. What a place does beyond that does not.

    Args:
        candidates: C of them.
        ask: from the text of the options in one order to float [Q, C], the log-probability of each
            letter in answer to each question.

    Returns:
        float [Q, C], natural log, candidates in their own order.
    """
    found = []
    for first, order in enumerate(rotations(candidates)):
        letters_QxC = ask(options_text(order))
        # The candidate c stands in place c - first, counted around.
        found.append(np.roll(letters_QxC, first, axis=-1))
    return np.mean(found, axis=0)
