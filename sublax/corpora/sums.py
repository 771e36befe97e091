"""Sums of one step, each after worked examples: for models that word problems are too hard for.

They are as short as a problem with a story can be, so that a model which hardly reckons still comes
to some right answers by many draws.
"""

import numpy as np

from sublax.corpora.word_problems import THINGS, Problem

# (first number, second, of what, whether the second goes away)
_EXAMPLES = ((4, 3, "cups", False), (9, 5, "pens", True), (6, 6, "books", False))


def _problem(first: int, second: int, thing: str, away: bool) -> Problem:
    if away:
        question = f"{first} {thing}, and {second} of them are lost: how many {thing} are left?"
        step = (f"{first} - {second}", f"{first - second}")
    else:
        question = f"{first} {thing} and {second} more {thing}: how many {thing}?"
        step = (f"{first} + {second}", f"{first + second}")
    return Problem("sums", question, (step,))


def make_sum(rng: np.random.Generator) -> Problem:
    """A sum or difference of numbers between 2 and 18 with its right answer."""
    second, third = rng.integers(2, 10, 2).tolist()
    away = bool(rng.integers(2))
    first = second + third if away else third
    return _problem(first, second, str(rng.choice(THINGS)), away)


def examples() -> list[Problem]:
    """What stands before every question, worked out, in this order."""
    return [_problem(*example) for example in _EXAMPLES]
