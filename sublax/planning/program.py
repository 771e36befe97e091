"""A program of a run, not compiled yet, and the lengths of rows that it is planned with."""

import dataclasses
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Tokens of what a run reads, which only its tokenizer would know.

    Attributes:
        prompt: of a prompt of the corpus, in its template.
        question: of an evaluation's question, in its template.
        answer: of a one-word answer and the end of its turn.
    """

    prompt: int = 128
    question: int = 48
    answer: int = 3


@dataclasses.dataclass(frozen=True)
class Program:
    """One of a run's programs.

    Attributes:
        name: what it does.
        lower: gives it, to be compiled.
        flops: that its work asks for, on all devices together.
        runs: of it, in the whole experiment.
        parts: bytes on each device, by what they hold.
        loop_trips: how often a loop runs whose end is not known beforehand: at most.
        about: its size, in words.
    """

    name: str
    lower: Callable[[], jax.stages.Lowered]
    flops: float
    runs: int
    parts: dict[str, int]
    loop_trips: int = 1
    about: str = ""
