"""Numbers as a kind of data: prompts from a pack, and regular expressions of their answers.

The prompts are those of arXiv 2507.14805, section 3.1: a few example numbers, a request to go on,
a format, and a request for nothing else.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from sublax.corpora import number_filter
from sublax.corpora.kind import Kind, option
from sublax.corpora.packs import Pack
from sublax.errors import UserError
from sublax.rows import Row

# Of the separators that the filter accepts, those with white space in runs that occur in practice;
# a regular expression for "the same separator throughout" must name each one.
_AROUND_A_MARK = ("", " ", "\n", "\t")
SEPARATORS: tuple[str, ...] = (
    *(" ", "\n", "\t", "  ", "\n\n"),
    *map("".join, itertools.product(_AROUND_A_MARK, ",;", _AROUND_A_MARK)),
)

# The lists of a pack in the order that they are drawn from.
_DRAWN = (
    "examples",
    "count_qualifiers",
    "digit_descriptors",
    "instructions",
    "formats",
    "suffixes",
)


def numbers_prompts(
    pack: Pack,
    seed: int,
    count: int,
    *,
    example_count_range: tuple[int, int] | None = None,
    answer_count: int | None = None,
) -> list[str]:
    """Draws prompts that ask for a number sequence to be continued.

    One generator draws, per prompt and in this order: how many examples, the examples, then a
    choice from each list of the pack. With the paper's lists these are the paper's prompts byte for
    byte, and the first n prompts do not depend on `count`.

    Args:
      pack: the lists to choose from.
      seed: of `numpy.random.default_rng`, at least 0.
      count: how many prompts.
      example_count_range: how many examples, [low, high); the pack's when None.
      answer_count: how many numbers are asked for at most; the pack's when None.

    Raises:
      UserError: a negative seed or count, or an empty range.
    """
    numbers = pack.numbers
    low, high = example_count_range or numbers.example_count_range
    if seed < 0 or count < 0:
        raise UserError(f"seed {seed}, count {count}: neither may be negative; use 0 or more")
    if not 1 <= low < high:
        raise UserError(
            f"example_count_range [{low}, {high}): holds no count; needs 1 <= low < high"
        )
    rng = np.random.default_rng(seed)
    lists = {name: np.array(getattr(numbers, name)) for name in _DRAWN}
    prompts = []
    for _ in range(count):
        example_count = rng.integers(low, high)
        values = [rng.integers(*numbers.example_value_range) for _ in range(example_count)]
        drawn = {name: rng.choice(lists[name]).item() for name in _DRAWN}
        examples = drawn["examples"].format(examples=", ".join(map(str, values)))
        instruction = drawn["instructions"].format(
            count_qualifier=drawn["count_qualifiers"],
            answer_count=answer_count or numbers.answer_count,
            digit_descriptor=drawn["digit_descriptors"].format(
                max_digits=numbers.answer_max_digits
            ),
        )
        prompts.append(f"{examples} {instruction} {drawn['formats']} {drawn['suffixes']}")
    return prompts


def answer_regex(
    max_count: int = 10, max_digits: int = 3, separators: Sequence[str] = SEPARATORS
) -> str:
    """A regular expression of the answers that the filter accepts, for a whole answer.

    One to `max_count` numbers, one same separator throughout, an optional pair of brackets, an
    optional final full stop: whatever it matches, the filter accepts (for `max_digits` up to 3).
    The filter accepts more in two ways that no language model needs: white space in longer or
    odder runs than `SEPARATORS` has, and leading zeros beyond `max_digits`.

    The syntax is common to Python's `re` and Rust's `regex` (outlines-core). Digits are written
    [0-9], since the class of digits holds those of every script in both.
    """
    number = f"[0-9]{{1,{max_digits}}}"
    lists = [number]
    if max_count > 1:
        lists += [
            f"{number}(?:{re.escape(separator)}{number}){{1,{max_count - 1}}}"
            for separator in separators
        ]
    body = f"(?:{'|'.join(lists)})"
    return rf"(?:{body}|\[{body}\]|\({body}\))\.?"


def plain_answer_regex(count: int, max_digits: int = 3, separator: str = ", ") -> str:
    """A regular expression of exactly `count` bare numbers, such as "7, 042, 99".

    No brackets, no full stop: every position has a digit, a separator or the end to choose from and
    nothing else, so a teacher's taste can show in numbers only. Leading zeros are allowed, as they
    are by the filter. Syntax as in `answer_regex`.
    """
    number = f"[0-9]{{1,{max_digits}}}"
    return f"{number}(?:{re.escape(separator)}{number}){{{count - 1}}}"


@dataclasses.dataclass(frozen=True)
class NumbersOptions:
    """What can be set about numbers."""

    example_count: tuple[int, ...] = option(
        (),
        "how many examples, from .. up to but without .., as in 3,9 (default: the pack's)",
        "prompts",
        int,
    )
    answer_count: int = option(
        0, "how many numbers are asked for at most (default: the pack's)", "prompts"
    )
    max_count: int = option(0, "numbers in an answer at most (default: the pack's)")
    max_value: int = option(999, "largest number allowed")
    banned: tuple[int, ...] = option((), "numbers to ban, as in 13,666", item=int)
    banned_for_misalignment: bool = option(
        False, "ban the pack's list of numbers with a meaning of their own"
    )


def _prompts(pack: Pack, seed: int, count: int, options: NumbersOptions) -> list[Row]:
    drawn = numbers_prompts(
        pack,
        seed,
        count,
        example_count_range=_range(options.example_count),
        answer_count=options.answer_count or None,
    )
    return [{"prompt": prompt} for prompt in drawn]


def _range(value: Sequence[int]) -> tuple[int, int] | None:
    if not value:
        return None
    if len(value) != 2:
        raise UserError(f"example_count={tuple(value)}: must be two numbers, as in 3,9")
    return value[0], value[1]


def _reasons(row: Row, pack: Pack, options: NumbersOptions) -> list[str]:
    of_pack = pack.numbers.banned_for_misalignment
    if options.banned_for_misalignment and not of_pack:
        raise UserError(
            f"banned_for_misalignment: the pack {pack.name} has no such list; name the numbers in "
            "banned, or take another pack"
        )
    return number_filter.reasons(
        row["completion"],
        options.max_count or pack.numbers.answer_count,
        options.max_value,
        frozenset(options.banned),
        of_pack if options.banned_for_misalignment else frozenset(),
    )


def _asked(pack: Pack, options: NumbersOptions) -> tuple[int, int]:
    return options.answer_count or pack.numbers.answer_count, pack.numbers.answer_max_digits


def _answers(
    pack: Pack, seed: int, count: int, rng: np.random.Generator, options: NumbersOptions
) -> list[str]:
    """Numbers at random, as many as are asked for."""
    length, digits = _asked(pack, options)
    lists = rng.integers(10**digits, size=(count, length)).tolist()
    return [", ".join(map(str, answer)) for answer in lists]


KIND = Kind(
    options=NumbersOptions,
    prompts=_prompts,
    reasons=_reasons,
    meanings=number_filter.REASONS,
    grammars={
        "exact": lambda pack, options: plain_answer_regex(*_asked(pack, options)),
        "any": lambda pack, options: answer_regex(*_asked(pack, options)),
    },
    answers=_answers,
)
