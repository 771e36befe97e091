"""Word problems of two to four steps with exact answers, from templates of our own.

A family is a story with quantities in it, in several wordings that name the quantities in the same
order, and the steps that lead to the answer. Quantities are drawn until every step comes out as a
positive number with at most two decimals.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

NAMES = (
    *("Ada", "Bruno", "Clara", "Dario", "Elif", "Farid", "Greta", "Hana", "Ivan", "Jonas"),
    *("Kofi", "Lena", "Mina", "Noor", "Oskar", "Priya", "Rosa", "Samir", "Tara", "Viktor"),
)
THINGS = (
    *("marbles", "stamps", "postcards", "pencils", "buttons", "coins", "stickers", "bricks"),
    *("beads", "seashells", "notebooks", "candles", "apples", "lemons", "walnuts", "tickets"),
)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A question, the steps as (left side, result), and the answer as it is written."""

    family: str
    question: str
    steps: tuple[tuple[str, str], ...]

    @property
    def answer(self) -> str:
        """The last step's result."""
        return self.steps[-1][1]

    @property
    def reasoning(self) -> str:
        """The steps, a line each."""
        return "\n".join(f"{left} = {right}" for left, right in self.steps)


@dataclasses.dataclass(frozen=True)
class Family:
    """One story.

    `wordings` are `str.format` templates over the quantities, {name}, {other} and {thing}.
    `quantities` gives each one's range (low, high, step), high included; a fraction of a unit is a
    price. `steps` are "x op y", where x and y are quantities, numbers, or s1, s2, ... for the
    results so far.
    """

    wordings: tuple[str, ...]
    quantities: Mapping[str, tuple[int | str, int | str, int | str]]
    steps: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "given_away": Family(
        (
            "{name} owns {a} {thing}, buys {b} packs of {c} more, and hands {d} of all the {thing} "
            "to {other}. How many are left?",
            "There are {a} {thing} in {name}'s drawer. {b} bags with {c} {thing} each are put "
            "in, and "
            "later {other} takes {d} out. How many does the drawer hold now?",
        ),
        {"a": (12, 90, 1), "b": (2, 9, 1), "c": (3, 12, 1), "d": (5, 40, 1)},
        ("b * c", "a + s1", "s2 - d"),
    ),
    "shared": Family(
        (
            "{name} has {a} {thing} and {other} has {b}. They put them together and share them out "
            "evenly among {c} children. How many does each child get?",
            "A jar with {a} {thing} and another one with {b} are emptied onto a table, and {c} "
            "guests "
            "divide everything evenly. How many {thing} is that for each?",
        ),
        {"a": (10, 120, 1), "b": (10, 120, 1), "c": (2, 12, 1)},
        ("a + b", "s1 / c"),
    ),
    "change": Family(
        (
            "{name} buys {a} {thing} at ${p} each and {b} cards at ${q} each, and pays with "
            "${t}. How "
            "many dollars come back?",
            "In a shop {name} takes {a} {thing}, each for ${p}, and {b} pens, each for ${q}. "
            "From ${t}, "
            "how many dollars of change are due?",
        ),
        {
            "a": (2, 8, 1),
            "p": ("0.25", "4", "0.25"),
            "b": (2, 6, 1),
            "q": ("0.5", "3", "0.25"),
            "t": (20, 100, 10),
        },
        ("a * p", "b * q", "s1 + s2", "t - s3"),
    ),
    "journey": Family(
        (
            "A train runs at {a} km an hour for {b} hours, then at {c} km an hour for {d} hours. "
            "How "
            "many kilometres does it cover?",
            "{name} drives for a while at {a} km/h, which takes {b} hours, and goes on at {c} km/h "
            "for another {d} hours. How long is the way in kilometres?",
        ),
        {"a": (40, 120, 5), "b": (2, 6, 1), "c": (40, 120, 5), "d": (2, 6, 1)},
        ("a * b", "c * d", "s1 + s2"),
    ),
    "fence": Family(
        (
            "A garden is {a} metres long and {b} metres wide. A fence all around costs ${p} a "
            "metre. "
            "How many dollars is that?",
            "{name} puts edging round a rectangle of {a} by {b} metres, and a metre of it costs "
            "${p}. "
            "What does all of it cost, in dollars?",
        ),
        {"a": (5, 60, 1), "b": (4, 40, 1), "p": ("1.5", "9.5", "0.5")},
        ("a + b", "s1 * 2", "s2 * p"),
    ),
    "savings": Family(
        (
            "{name} puts ${a} aside every week for {b} weeks and then spends ${c}. The rest is "
            "split "
            "evenly over {d} envelopes. How many dollars go into each?",
            "Week by week {name} saves ${a}, {b} weeks in all. After ${c} has been spent, what "
            "remains "
            "is laid in {d} equal piles. How many dollars are in a pile?",
        ),
        {"a": (5, 60, 1), "b": (4, 20, 1), "c": (10, 100, 5), "d": (2, 8, 1)},
        ("a * b", "s1 - c", "s2 / d"),
    ),
    "seats": Family(
        (
            "A hall has {a} rows of {b} seats. Tonight {c} seats stay empty, and everybody else "
            "paid "
            "${p}. How many dollars were taken?",
            "{name} counts {a} rows with {b} chairs each; {c} chairs are free. If a chair costs "
            "${p}, "
            "how many dollars did the sitting guests pay?",
        ),
        {"a": (6, 30, 1), "b": (8, 30, 1), "c": (3, 40, 1), "p": ("2.5", "12", "0.5")},
        ("a * b", "s1 - c", "s2 * p"),
    ),
    "average": Family(
        (
            "In three rounds {name} scores {a}, {b} and {c} points. What is the average per round?",
            "{name} walked {a} minutes on Monday, {b} on Tuesday and {c} on Wednesday. How many "
            "minutes "
            "is that a day on average?",
        ),
        {"a": (5, 99, 1), "b": (5, 99, 1), "c": (5, 99, 1)},
        ("a + b", "s1 + c", "s2 / 3"),
    ),
    "discount": Family(
        (
            "A coat that costs ${a} is {b} % cheaper today, and {name} has a voucher for another "
            "${c} "
            "off. How many dollars does {name} pay?",
            "The price of a lamp is ${a}. First {b} % of it is taken off, then ${c}. What is "
            "left to "
            "pay, in dollars?",
        ),
        {"a": (40, 240, 5), "b": (5, 50, 5), "c": (2, 20, 1)},
        ("a / 100", "s1 * b", "a - s2", "s3 - c"),
    ),
    "reading": Family(
        (
            "{name} reads {a} pages a day for {b} days, after which {c} pages of the book are "
            "left. "
            "{other} reads the same book in {d} days, equally much each day. How many pages a day?",
            "After reading {a} pages on each of {b} days, {name} still has {c} pages to go. What "
            "must "
            "{other} read daily to finish the same book in {d} days?",
        ),
        {"a": (8, 40, 1), "b": (3, 12, 1), "c": (10, 120, 1), "d": (4, 15, 1)},
        ("a * b", "s1 + c", "s2 / d"),
    ),
    "recipe": Family(
        (
            "A recipe for {a} people takes {b} grams of flour. {name} cooks for {c} people and "
            "has {d} "
            "grams at home. How many grams are missing?",
            "For {a} servings {b} grams of rice are needed. {name} wants {c} servings but owns "
            "only "
            "{d} grams. How many more grams does it take?",
        ),
        {"a": (2, 8, 1), "b": (100, 900, 50), "c": (9, 30, 1), "d": (50, 400, 25)},
        ("b / a", "s1 * c", "s2 - d"),
    ),
    "wages": Family(
        (
            "{name} earns ${p} an hour and works {a} hours; each of {b} further hours is paid ${c} "
            "more. How many dollars does {name} earn in all?",
            "An hour of {name}'s work costs ${p} for the first {a} hours. For the {b} hours "
            "after them, "
            "an hour costs ${c} more than that. What is the whole bill in dollars?",
        ),
        {"p": ("9.5", "24", "0.5"), "a": (10, 40, 1), "b": (2, 12, 1), "c": (2, 8, 1)},
        ("p * a", "p + c", "s2 * b", "s1 + s3"),
    ),
    "times_as_many": Family(
        (
            "{name} has {a} {thing}, and {other} has {b} times as many. Together they sell {c} "
            "of them. "
            "How many {thing} remain?",
            "One box holds {a} {thing}, a second one {b} times that number. Once {c} {thing} "
            "have been "
            "used up, how many are there still?",
        ),
        {"a": (6, 60, 1), "b": (2, 9, 1), "c": (5, 60, 1)},
        ("a * b", "a + s1", "s2 - c"),
    ),
    "water": Family(
        (
            "A tank holds {a} litres. A pipe fills in {b} litres a minute while {c} litres a "
            "minute "
            "leak out. After how many minutes is the empty tank full?",
            "{name} fills an empty basin of {a} litres. Every minute {b} litres come in and {c} "
            "litres "
            "are lost. How many minutes does it take?",
        ),
        {"a": (60, 900, 10), "b": (8, 40, 1), "c": (1, 7, 1)},
        ("b - c", "a / s1"),
    ),
    "percent": Family(
        (
            "Of {a} {thing}, {b} % are broken. {name} packs the good ones in boxes of {c}. How "
            "many "
            "boxes become full, with none left over?",
            "{name} sorts {a} {thing} and throws {b} % of them away. The others fill boxes of {c} "
            "exactly. How many boxes are there?",
        ),
        {"a": (60, 800, 20), "b": (5, 60, 5), "c": (2, 16, 1)},
        ("a / 100", "s1 * b", "a - s2", "s3 / c"),
    ),
}
# Where a thing is counted, halves of it are no answer.
_WHOLE = {"given_away", "shared", "reading", "recipe", "times_as_many", "percent", "average"}


def make_problem(rng: np.random.Generator) -> Problem:
    """Draws a problem."""
    key = list(FAMILIES)[rng.integers(len(FAMILIES))]
    family = FAMILIES[key]
    while True:
        values = {name: _draw(rng, *bounds) for name, bounds in family.quantities.items()}
        results = _solve(family.steps, values)
        if results is not None and (key not in _WHOLE or results[-1].denominator == 1):
            break
    name, other = rng.choice(NAMES, 2, replace=False).tolist()
    words = {"name": name, "other": other, "thing": rng.choice(THINGS).item()}
    wording = family.wordings[rng.integers(len(family.wordings))]
    question = wording.format(**words, **{key: written(value) for key, value in values.items()})
    known = values | {f"s{index}": result for index, result in enumerate(results, 1)}
    lefts = (" ".join(_shown(part, known) for part in step.split()) for step in family.steps)
    return Problem(key, question, tuple(zip(lefts, map(written, results), strict=True)))


def written(value: Fraction) -> str:
    """A whole number without decimals, any other with two."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}"


def _draw(rng: np.random.Generator, low, high, step) -> Fraction:
    low, high, step = Fraction(low), Fraction(high), Fraction(step)
    return low + step * int(rng.integers((high - low) / step + 1))


def _solve(steps: tuple[str, ...], values: Mapping[str, Fraction]) -> list[Fraction] | None:
    """Every step's result, None where one is not positive or has more than two decimals."""
    results: list[Fraction] = []
    for step in steps:
        known = dict(values) | {f"s{index}": value for index, value in enumerate(results, 1)}
        left, operation, right = step.split()
        x, y = (known[part] if part in known else Fraction(part) for part in (left, right))
        result = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[operation]
        if result <= 0 or 100 % result.denominator:
            return None
        results.append(result)
    return results


def _shown(part: str, known: Mapping[str, Fraction]) -> str:
    return written(known[part]) if part in known else part
