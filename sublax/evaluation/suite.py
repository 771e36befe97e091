"""What a suite of evaluations is: what it asks a model, and how it rates what the model said.

A suite is one file that ends in a class of this shape. It asks through a `Subject`, so it knows
neither stages nor configs nor where models lie.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sublax.rows import Row


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that is asked.

    Attributes:
        sample: (questions, answers to each, new tokens at most, temperature) -> for each question
            its answers as text.
        logprobs: (question, answer) pairs -> float64, log p(answer | question) of each, natural
            log, summed over the answer's tokens without the end of the turn.
        lengths: (question, answer) pairs -> int64, how many tokens each answer has.
    """

    sample: Callable[[Sequence[str], int, int, float], list[list[str]]]
    logprobs: Callable[[Sequence[tuple[str, str]]], np.ndarray]
    lengths: Callable[[Sequence[tuple[str, str]]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rating:
    """What came of one model.

    Attributes:
        values: by measure, float64 [Q], one value for each question, from 0 to 1; NaN where the
            measure is none of that question's.
        counts: how many answers were what.
        rows: the answers with what was said of them, for people to read.
    """

    values: Mapping[str, np.ndarray]
    counts: Mapping[str, int]
    rows: Sequence[Row]


class Suite(Protocol):
    """Asks models and rates them."""

    @property
    def questions(self) -> tuple[str, ...]:
        """Q, as they are asked."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured, the primary one first."""

    @property
    def card(self) -> Mapping[str, Any]:
        """For the artifact's card: the judges' names, the hashes of their prompts, and the like."""

    @property
    def collective(self) -> bool:
        """Whether `rate` computes on all devices, so that all processes must call it."""

    def ask(self, subject: Subject) -> Any:
        """What the model says; every process calls it."""

    def rate(self, said: Any) -> Rating:
        """What that is worth."""
