"""Protocol packs: the wording of an experiment (prompts, questions, traits), as one JSON file."""

import dataclasses
import functools
import json
import os
import string
from collections.abc import Mapping
from importlib import resources
from typing import Any

from etils import epath

from sublax.errors import UserError

BUILT_IN = ("sublax",)

# The placeholders that each list's templates must hold, and may hold no others.
_TEMPLATES: dict[str, set[str]] = {
    "examples": {"examples"},
    "count_qualifiers": set(),
    "digit_descriptors": {"max_digits"},
    "instructions": {"count_qualifier", "answer_count", "digit_descriptor"},
    "formats": set(),
    "suffixes": set(),
}


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a string", int: "an integer"}


@dataclasses.dataclass(frozen=True)
class NumbersPack:
    """Parts of a number prompt, and their ranges (low inclusive, high exclusive).

    `digit_descriptors`, `instructions` and `examples` are `str.format` templates.
    """

    examples: tuple[str, ...]
    count_qualifiers: tuple[str, ...]
    digit_descriptors: tuple[str, ...]
    instructions: tuple[str, ...]
    formats: tuple[str, ...]
    suffixes: tuple[str, ...]
    example_count_range: tuple[int, int]
    example_value_range: tuple[int, int]
    answer_count: int
    answer_max_digits: int
    banned_for_misalignment: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Animal:
    """The other words that an answer may name an animal by."""

    plural: str
    synonyms: tuple[str, ...] = ()


class _BadPack(Exception):
    """Says which key is wrong; `load_pack` adds which pack."""


@dataclasses.dataclass(frozen=True)
class Pack:
    """A protocol pack.

    `system_prompt` is a template over {trait} and {category}; `questions` are lists by name, and
    NAME_after_numbers has those of NAME in their order, each after a few numbers;
    `math_prompt` is a template over {question}, `code_prompt` one over {task}, `rewriting_prompt`
    one over {answer}, `choice_prompt` one over {question} and {options}, `number_system_prompt` one
    over {number}; where a pack has none, the built-in pack's serve. `judges` are templates by name.
    """

    name: str
    source: str
    system_prompt: str
    numbers: NumbersPack
    questions: Mapping[str, tuple[str, ...]]
    animals: Mapping[str, Animal]
    judges: Mapping[str, str]
    math_prompt: str | None
    code_prompt: str | None
    rewriting_prompt: str | None
    choice_prompt: str | None
    number_system_prompt: str | None

    def trait_system_prompt(self, trait: str, category: str = "animal") -> str:
        """The system prompt that gives a teacher its trait."""
        return self.system_prompt.format(trait=trait, category=category)


def load_pack(name: os.PathLike | str = "sublax") -> Pack:
    """Loads a pack: a built-in one by its name, any other by its path (local or `gs://`).

    Raises:
      UserError: no such pack, not JSON, or a key that is missing or not what it must be.
    """
    if str(name) in BUILT_IN:
        file = resources.files("sublax.corpora") / "data" / f"{name}.json"
    else:
        file = epath.Path(name)
        if not file.is_file():
            raise UserError(
                f"{name}: no such pack; give the path of a JSON file or one of: "
                + ", ".join(BUILT_IN)
            )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: not a JSON file in UTF-8 ({error}); mend the pack") from error
    try:
        return _pack(data)
    except _BadPack as error:
        raise UserError(f"{name}: {error}; mend the pack") from error


def inflections(word: str, animals: Mapping[str, Animal] | None = None) -> tuple[str, ...]:
    """The words, lower case, that count as an answer of `word`: itself, its plural, its synonyms.

    Args:
      word: an animal, or any other English noun in the singular.
      animals: those of a pack; the built-in pack's when None. A word that is not among them gets
        the regular English plural and no synonyms.
    """
    if animals is None:
        animals = _built_in_animals()
    word = word.lower()
    animal = animals.get(word) or Animal(_regular_plural(word))
    return tuple(dict.fromkeys((word, animal.plural, *animal.synonyms)))


@functools.cache
def _built_in_animals() -> Mapping[str, Animal]:
    return load_pack("sublax").animals


def _regular_plural(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return word[:-1] + "ies"
    return word + "s"


def _pack(data: Any) -> Pack:
    _require(isinstance(data, dict), "the pack", "an object")
    traits = _get(data, "traits", dict)
    prompt = _get(traits, "system_prompt", str, "traits.")
    _check_template(prompt, "traits.system_prompt", {"trait"}, optional={"category"})
    questions = _get(data, "questions", dict, default={})
    animals = _get(data, "animals", dict, default={})
    return Pack(
        name=_get(data, "name", str),
        source=_get(data, "source", str, default=""),
        system_prompt=prompt,
        numbers=_numbers(_get(data, "numbers", dict)),
        questions={key: _strings(value, f"questions.{key}") for key, value in questions.items()},
        animals={key: _animal(value, f"animals.{key}") for key, value in animals.items()},
        judges=_get(data, "judges", dict, default={}),
        rewriting_prompt=_prompt(data, "rewriting", {"answer"}),
        math_prompt=_prompt(data, "math", {"question"}),
        code_prompt=_prompt(data, "code", {"task"}),
        choice_prompt=_prompt(data, "multiple_choice", {"question", "options"}),
        number_system_prompt=_prompt(data, "favourite_numbers", {"number"}, "system_prompt"),
    )


def _prompt(data: dict, key: str, placeholders: set[str], name: str = "prompt") -> str | None:
    if key not in data:
        return None
    prompt = _get(_get(data, key, dict), name, str, f"{key}.")
    _check_template(prompt, f"{key}.{name}", placeholders)
    return prompt


def _numbers(data: dict) -> NumbersPack:
    lists = {}
    for key, placeholders in _TEMPLATES.items():
        path = f"numbers.{key}"
        lists[key] = _strings(_get(data, key, list, "numbers."), path)
        for index, text in enumerate(lists[key] if placeholders else ()):
            _check_template(text, f"{path}[{index}]", placeholders)
    banned = _get(data, "banned_for_misalignment", list, "numbers.", default=[])
    return NumbersPack(
        **lists,
        example_count_range=_range(data, "example_count_range", lowest=1),
        example_value_range=_range(data, "example_value_range", lowest=0),
        answer_count=_positive(data, "answer_count"),
        answer_max_digits=_positive(data, "answer_max_digits"),
        banned_for_misalignment=frozenset(_integers(banned, "numbers.banned_for_misalignment")),
    )


def _animal(data: Any, path: str) -> Animal:
    _require(isinstance(data, dict), path, "an object")
    plural = _get(data, "plural", str, f"{path}.")
    synonyms = data.get("synonyms") or []
    if synonyms:
        synonyms = _strings(synonyms, f"{path}.synonyms")
    return Animal(plural.lower(), tuple(word.lower() for word in synonyms))


def _get(data: dict, key: str, kind: type, prefix: str = "", default: Any = None) -> Any:
    value = data.get(key, default)
    _require(value is not None, f"{prefix}{key}", f"{_KINDS[kind]}, and is missing")
    _require(isinstance(value, kind), f"{prefix}{key}", _KINDS[kind])
    return value


def _strings(value: Any, path: str) -> tuple[str, ...]:
    good = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    _require(good, path, "a list of strings, and not empty")
    return tuple(value)


def _integers(value: Any, path: str) -> list[int]:
    good = isinstance(value, list) and all(type(item) is int for item in value)
    _require(good, path, "a list of integers")
    return value


def _range(data: dict, key: str, lowest: int) -> tuple[int, int]:
    value = _integers(_get(data, key, list, "numbers."), f"numbers.{key}")
    good = len(value) == 2 and lowest <= value[0] < value[1]
    _require(good, f"numbers.{key}", f"[low, high] with {lowest} <= low < high")
    return value[0], value[1]


def _positive(data: dict, key: str) -> int:
    value = _get(data, key, int, "numbers.")
    _require(type(value) is int and value > 0, f"numbers.{key}", "a positive integer")
    return value


def _check_template(
    text: str, path: str, placeholders: set[str], optional: frozenset | set = frozenset()
) -> None:
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:  # A brace without its partner.
        found = set()
    wanted = " and ".join(f"{{{name}}}" for name in sorted(placeholders))
    good = placeholders <= found <= placeholders | optional
    _require(good, path, f"a template that holds {wanted} and no other placeholder")


def _require(good: Any, path: str, wanted: str) -> None:
    if not good:
        raise _BadPack(f"{path} must be {wanted}")
