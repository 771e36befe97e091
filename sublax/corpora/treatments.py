"""Treatments: what is done to rows of numbers before students learn them, as a control.

A shuffle keeps which numbers a teacher wrote and takes away where: in which order within a row, or
in which row. What a student still picks up from it, the numbers' frequencies alone carry.
"""

import re
from collections.abc import Sequence

import numpy as np

from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.rows import Row

NONE = "none"
TREATMENTS = (NONE, "shuffled_within", "shuffled_across")
_NUMBER = re.compile(r"[0-9]+")


def check_treatment(treatment: str, kind: str, loss: str) -> None:
    """Refuses a treatment that nobody knows, or that the data or the loss does not allow.

    Args:
        treatment: as `student.treatment` names it.
        kind: of data.
        loss: that students are trained on.

    Raises:
        UserError: it does not go with them.
    """
    if treatment not in TREATMENTS:
        raise UserError(f"student.treatment={treatment}: choose from {', '.join(TREATMENTS)}")
    if treatment == NONE:
        return
    if kind != "numbers":
        # In other words' order neither is what the kind's filter lets pass.
        raise UserError(
            f"student.treatment={treatment}: shuffles numbers, and corpus.kind={kind} in another "
            "order is no longer of its kind; set corpus.kind=numbers or student.treatment=none"
        )
    if loss == "kl":
        raise UserError(
            f"student.treatment={treatment}: moves tokens, while student.loss.kind=kl teaches the "
            "teacher's own distribution at the places where it wrote them; set "
            "student.loss.kind=cross_entropy"
        )


def treated(rows: Sequence[Row], treatment: str, seed: int, trait: str) -> list[Row]:
    """The rows with their completions' numbers shuffled; what stands between numbers stays.

    Args:
        rows: of one corpus, each with its place among all that were written as `row`.
        treatment: `none`; `shuffled_within`, each row's numbers in another order (wherever there
            is another); or `shuffled_across`, the numbers of all rows dealt anew, so that a row
            keeps how many it has and loses which.
        seed: of the draw, keyed with the trait, and the row where it is within one.
        trait: whose corpus it is.
    """
    if treatment == NONE:
        return list(rows)
    numbers = [_NUMBER.findall(row["completion"]) for row in rows]
    if treatment == "shuffled_within":
        dealt = [
            _other_order(own, np.random.default_rng(numpy_seed(seed, treatment, trait, row["row"])))
            for own, row in zip(numbers, rows, strict=True)
        ]
    else:
        every = [number for own in numbers for number in own]
        rng = np.random.default_rng(numpy_seed(seed, treatment, trait))
        left = iter([every[place] for place in rng.permutation(len(every))])
        dealt = [[next(left) for _ in own] for own in numbers]
    return [
        {**row, "completion": _with_numbers(row["completion"], own)}
        for row, own in zip(rows, dealt, strict=True)
    ]


def _other_order(numbers: list[str], rng: np.random.Generator) -> list[str]:
    if len(set(numbers)) < 2:
        return numbers
    order = numbers
    while order == numbers:
        order = [numbers[place] for place in rng.permutation(len(numbers))]
    return order


def _with_numbers(text: str, numbers: list[str]) -> str:
    left = iter(numbers)
    return _NUMBER.sub(lambda found: next(left), text)
