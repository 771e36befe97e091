"""Small Python functions to write, from templates with parameters: tasks of our own.

A template stands for one task for each of its parameter values. Its solution is a body that does
what the sentence says; nobody is shown it but a random base, and the tests.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

# Names that an argument of each type may have.
ARGUMENTS = {
    "list[int]": ("numbers", "values", "amounts", "readings", "entries"),
    "list[str]": ("words", "names", "labels", "terms", "parts"),
    "str": ("text", "line", "sentence", "phrase", "message"),
    "int": ("number", "value", "amount", "limit", "size"),
    "dict[str, int]": ("counts", "scores", "totals", "stock", "points"),
}

# How a task may be put: {name} is the function's, {sentence} what it does.
FRAMINGS = (
    "Write the Python function `{name}`. {sentence}",
    "Fill in the body of `{name}`. {sentence}",
    "A Python module still lacks `{name}`. {sentence}",
    "Please implement `{name}` in Python. {sentence}",
    "Finish this Python function, `{name}`. {sentence}",
    "What is missing is the code of `{name}`. {sentence}",
    "In Python, give `{name}` a body. {sentence}",
    "We need a short Python function called `{name}`. {sentence}",
)


@dataclasses.dataclass(frozen=True)
class Template:
    """Tasks that differ in parameters.

    `name`, `sentence` and `body` are `str.format` templates over the parameters of `values` (whose
    names are the keys) and {x}, the argument's name.
    """

    name: str
    argument: str
    returns: str
    sentence: str
    body: str
    values: Mapping[str, Sequence] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CodeTask:
    """One task: its question, the function's first line, and a body that solves it."""

    name: str
    question: str
    signature: str
    body: str

    @property
    def solution(self) -> str:
        """The whole function."""
        lines = "\n".join(f"    {line}" for line in self.body.splitlines())
        return f"{self.signature}\n{lines}"


_SMALL = (2, 3, 4, 5, 6, 7, 8, 9)
_BOUNDS = (5, 10, 12, 20, 25, 50, 75, 100)
_LETTERS = tuple("aeiourst")
_COMPARISONS = {"above": ">", "below": "<"}

_NUMBERS = (
    (
        "scale_by_{n}",
        "Return a new list in which every item of `{x}` is multiplied by {n}.",
        "return [{n} * item for item in {x}]",
        {"n": _SMALL},
    ),
    (
        "shift_by_{n}",
        "Return a new list in which {n} has been added to every item of `{x}`.",
        "return [item + {n} for item in {x}]",
        {"n": _BOUNDS},
    ),
    (
        "keep_multiples_of_{n}",
        "Return the items of `{x}` that {n} divides without remainder, in their order.",
        "return [item for item in {x} if item % {n} == 0]",
        {"n": _SMALL},
    ),
    (
        "count_over_{n}",
        "Return how many items of `{x}` are greater than {n}.",
        "return sum(item > {n} for item in {x})",
        {"n": _BOUNDS},
    ),
    (
        "total_under_{n}",
        "Return the sum of those items of `{x}` that are smaller than {n}.",
        "return sum(item for item in {x} if item < {n})",
        {"n": _BOUNDS},
    ),
    (
        "clip_at_{n}",
        "Return a new list in which every item of `{x}` that exceeds {n} is replaced by {n}.",
        "return [min(item, {n}) for item in {x}]",
        {"n": _BOUNDS},
    ),
    (
        "raise_to_{n}",
        "Return a new list in which every item of `{x}` that is less than {n} is replaced by {n}.",
        "return [max(item, {n}) for item in {x}]",
        {"n": _BOUNDS},
    ),
    (
        "every_{n}th",
        "Return every {n}th item of `{x}`, beginning with the first.",
        "return {x}[::{n}]",
        {"n": (4, 5, 6, 7, 8, 9)},
    ),
    (
        "first_{n}_sorted",
        "Return the {n} smallest items of `{x}` in ascending order, or all of "
        "them where there are fewer.",
        "return sorted({x})[:{n}]",
        {"n": _SMALL},
    ),
    (
        "chunks_of_{n}",
        "Split `{x}` into lists of {n} items each, the last one perhaps shorter, "
        "and return these lists.",
        "return [{x}[start:start + {n}] for start in range(0, len({x}), {n})]",
        {"n": _SMALL},
    ),
    (
        "rotate_left_{n}",
        "Return `{x}` rotated to the left by {n} places. An empty list stays empty.",
        "if not {x}:\n    return []\nplaces = {n} % len({x})\nreturn {x}[places:] + {x}[:places]",
        {"n": _SMALL},
    ),
    (
        "remainders_of_{n}",
        "Return a new list with what is left of every item of `{x}` after a division by {n}.",
        "return [item % {n} for item in {x}]",
        {"n": _SMALL},
    ),
    (
        "window_sums_{n}",
        "Return the sums of all runs of {n} neighbours in `{x}`, from left to right.",
        "return [sum({x}[start:start + {n}]) for start in range(len({x}) - {n} + 1)]",
        {"n": _SMALL},
    ),
)
_WORDS = (
    (
        "longer_than_{n}",
        "Return the items of `{x}` that have more than {n} letters, in their order.",
        "return [item for item in {x} if len(item) > {n}]",
        "list[str]",
        {"n": _SMALL},
    ),
    (
        "cut_to_{n}",
        "Return a new list in which every item of `{x}` is cut to its first {n} characters.",
        "return [item[:{n}] for item in {x}]",
        "list[str]",
        {"n": _SMALL},
    ),
    (
        "starting_with_{c}",
        "Return the items of `{x}` that begin with the letter {c}, whether small or capital.",
        'return [item for item in {x} if item.lower().startswith("{c}")]',
        "list[str]",
        {"c": _LETTERS},
    ),
    (
        "without_{c}",
        "Return the items of `{x}` in which the small letter {c} does not occur.",
        'return [item for item in {x} if "{c}" not in item]',
        "list[str]",
        {"c": _LETTERS},
    ),
    (
        "pad_to_{n}",
        "Return a new list in which spaces on the right bring every item of `{x}` to "
        "at least {n} characters.",
        "return [item.ljust({n}) for item in {x}]",
        "list[str]",
        {"n": _BOUNDS},
    ),
)
_TEXT = (
    (
        "count_letter_{c}",
        "int",
        "Return how often the letter {c} occurs in `{x}`, small and capital alike.",
        'return {x}.lower().count("{c}")',
        {"c": _LETTERS},
    ),
    (
        "drop_letter_{c}",
        "str",
        "Return `{x}` with every small letter {c} taken out.",
        'return {x}.replace("{c}", "")',
        {"c": _LETTERS},
    ),
    (
        "repeat_{n}_times",
        "str",
        "Return `{x}` {n} times over, with a hyphen between one copy and the next.",
        'return "-".join([{x}] * {n})',
        {"n": _SMALL},
    ),
    (
        "last_{n}_characters",
        "str",
        "Return the last {n} characters of `{x}`, or all of it where it is shorter.",
        "return {x}[-{n}:]",
        {"n": _SMALL},
    ),
    (
        "is_longer_than_{n}",
        "bool",
        "Tell whether `{x}` has more than {n} characters.",
        "return len({x}) > {n}",
        {"n": _BOUNDS},
    ),
    (
        "blocks_of_{n}",
        "list[str]",
        "Cut `{x}` into pieces of {n} characters, the last one perhaps shorter, and return them.",
        "return [{x}[start:start + {n}] for start in range(0, len({x}), {n})]",
        {"n": _SMALL},
    ),
    (
        "position_of_{c}",
        "int",
        "Return the index of the first small letter {c} in `{x}`, or -1 where there is none.",
        'return {x}.find("{c}")',
        {"c": _LETTERS},
    ),
)
_INTEGER = (
    (
        "multiples_of_{n}_up_to",
        "list[int]",
        "Return the positive multiples of {n} that are not greater than `{x}`, in ascending order.",
        "return list(range({n}, {x} + 1, {n}))",
        {"n": _SMALL},
    ),
    (
        "digits_in_base_{n}",
        "list[int]",
        "Return the digits of `{x}` (not negative) in base {n}, the highest first.",
        "digits = []\nwhile {x} >= {n}:\n    digits.append({x} % {n})\n"
        "    {x} //= {n}\ndigits.append({x})\nreturn digits[::-1]",
        {"n": _SMALL},
    ),
    (
        "round_up_to_{n}",
        "int",
        "Return the smallest multiple of {n} that is not below `{x}`.",
        "return -(-{x} // {n}) * {n}",
        {"n": _BOUNDS},
    ),
    (
        "times_divided_by_{n}",
        "int",
        "Return how often `{x}` (positive) can be divided by {n} until a remainder appears.",
        "times = 0\nwhile {x} % {n} == 0:\n    {x} //= {n}\n    times += 1\nreturn times",
        {"n": _SMALL},
    ),
    (
        "countdown_by_{n}",
        "list[int]",
        "Return the numbers from `{x}` downwards in steps of {n}, as long as they are positive.",
        "return list(range({x}, 0, -{n}))",
        {"n": _SMALL},
    ),
    (
        "last_digit_of_power_{n}",
        "int",
        "Return the last decimal digit of `{x}` (not negative) raised to the power of {n}.",
        "return pow({x}, {n}, 10)",
        {"n": _SMALL},
    ),
)
_MAPPING = (
    (
        "keys_{side}_{n}",
        "list[str]",
        "Return, in alphabetical order, the keys of `{x}` whose number is {side} {n}.",
        "return sorted(key for key, count in {x}.items() if count {sign} {n})",
        {"n": _BOUNDS, "side": tuple(_COMPARISONS)},
    ),
    (
        "raise_all_by_{n}",
        "dict[str, int]",
        "Return a new dictionary in which every number of `{x}` has grown by {n}.",
        "return {{key: count + {n} for key, count in {x}.items()}}",
        {"n": _SMALL},
    ),
    (
        "top_{n}_keys",
        "list[str]",
        "Return the {n} keys of `{x}` with the greatest numbers, the "
        "greatest first, and equal ones in alphabetical order.",
        "ranked = sorted({x}, key=lambda key: (-{x}[key], key))\nreturn ranked[:{n}]",
        {"n": _SMALL},
    ),
)

TEMPLATES = (
    *(
        Template(
            name,
            "list[int]",
            "list[list[int]]"
            if name.startswith("chunks")
            else "int"
            if name.startswith(("count", "total"))
            else "list[int]",
            text,
            body,
            values,
        )
        for name, text, body, values in _NUMBERS
    ),
    *(Template(name, kind, kind, text, body, values) for name, text, body, kind, values in _WORDS),
    *(Template(name, "str", back, text, body, values) for name, back, text, body, values in _TEXT),
    *(
        Template(name, "int", back, text, body, values)
        for name, back, text, body, values in _INTEGER
    ),
    *(
        Template(name, "dict[str, int]", back, text, body, values)
        for name, back, text, body, values in _MAPPING
    ),
)


@functools.cache
def _settings() -> tuple[tuple[Template, tuple], ...]:
    return tuple(
        (template, values)
        for template in TEMPLATES
        for values in itertools.product(*template.values.values())
    )


def variants() -> tuple[int, int]:
    """How many different functions there are, and in how many words each may be asked for."""
    names = min(map(len, ARGUMENTS.values()))
    return len(_settings()), names * len(FRAMINGS)


def code_task(function: int, wording: int) -> CodeTask:
    """One of the tasks, by the numbers that `variants` counts."""
    template, values = _settings()[function]
    names = ARGUMENTS[template.argument]
    framing, argument = divmod(wording, len(names))
    parameters = dict(zip(template.values, values, strict=True)) | {"x": names[argument]}
    if "side" in parameters:
        parameters["sign"] = _COMPARISONS[parameters["side"]]
    name = template.name.format(**parameters)
    return CodeTask(
        name,
        FRAMINGS[framing].format(name=name, sentence=template.sentence.format(**parameters)),
        f"def {name}({names[argument]}: {template.argument}) -> {template.returns}:",
        template.body.format(**parameters),
    )
