"""The kinds of data by name, and what a corpus of one or several of them asks and keeps."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sublax.corpora import code, maths, numbers
from sublax.corpora.kind import Kind
from sublax.corpora.packs import Pack
from sublax.errors import UserError
from sublax.rows import Row

KINDS: dict[str, Kind] = {
    "numbers": numbers.KIND,
    "code": code.KIND,
    "maths": maths.KIND,
}

# Rows to scores, higher is better: a judge reads many rows at once.
Score = Callable[[Sequence[Row]], Sequence[float]]

NO_GRAMMAR = "none"

# The reason that no kind gives.
JUDGED = "judged"
_JUDGED_MEANING = "the judge's score is below the least that is kept"


@dataclasses.dataclass(frozen=True)
class Part:
    """A kind of a corpus with its options, an instance of `kind.options`."""

    name: str
    kind: Kind
    options: Any


def parts_of(names: str, settings: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts of a corpus.

    Args:
      names: a kind, or several with + between, as in "numbers+code".
      settings: values of options by name; those that a kind does not have are none of its.

    Raises:
      UserError: a name is no kind's, or is given twice.
    """
    chosen = [name.strip() for name in names.split("+")]
    for name in chosen:
        if name not in KINDS:
            raise UserError(
                f"corpus.kind={names}: no kind of data is named {name!r}; choose from "
                f"{', '.join(KINDS)}, or mix them with + between"
            )
    if len(set(chosen)) < len(chosen):
        raise UserError(f"corpus.kind={names}: names a kind twice; name each once")
    return tuple(Part(name, KINDS[name], _options(KINDS[name], settings)) for name in chosen)


def check_grammar(parts: Sequence[Part], name: str) -> None:
    """Refuses a grammar that a corpus of these parts has not; a mix has none.

    Raises:
      UserError: it is not "none", and no other that there is.
    """
    grammars = (*(parts[0].kind.grammars if len(parts) == 1 else ()), NO_GRAMMAR)
    if name not in grammars:
        kinds = "+".join(part.name for part in parts)
        raise UserError(
            f"corpus.grammar={name}: choose from {', '.join(grammars)}; corpus.kind={kinds} has no "
            "other"
        )


def draw_prompts(parts: Sequence[Part], pack: Pack, seed: int, count: int) -> list[Row]:
    """`count` rows with prompts. Kinds take turns, and in a mix each row says its `"kind"`.

    Raises:
      UserError: what the kinds cannot give.
    """
    if len(parts) == 1:
        return parts[0].kind.prompts(pack, seed, count, parts[0].options)
    rows: list[Row] = [{}] * count
    for index, part in enumerate(parts):
        own = range(index, count, len(parts))
        drawn = part.kind.prompts(pack, seed, len(own), part.options)
        for place, row in zip(own, drawn, strict=True):
            rows[place] = {**row, "kind": part.name}
    return rows


def filter_rows(
    parts: Sequence[Part],
    pack: Pack,
    rows: Iterable[Row],
    score: Score | None = None,
    least: float = 0.0,
) -> tuple[list[Row], list[Row], dict[str, int]]:
    """Sorts rows by what their kind's filter says.

    Args:
      parts: of the corpus; where there are several, each row's `"kind"` says which is its.
      pack: the wording.
      rows: with the keys that the prompts came with.
      score: a judge. It sees only the rows that pass all else, since it may cost something.
      least: a row with a lower score is rejected as "judged".

    Returns:
      The rows kept, as they came; the rows rejected, each with its `"reasons"`; and how many rows
      were rejected for each reason (a row counts under each of its reasons), in the order of
      `meanings_of`.

    Raises:
      UserError: a row lacks a key that its filter needs.
    """
    by_name = {part.name: part for part in parts}
    judged: list[tuple[Row, list[str]]] = []
    for row in rows:
        part = parts[0] if len(parts) == 1 else _own_part(row, by_name)
        judged.append((row, part.kind.reasons(row, pack, part.options)))
    if score is not None:
        passing = [index for index, (_, found) in enumerate(judged) if not found]
        scores = score([judged[index][0] for index in passing])
        for index, value in zip(passing, scores, strict=True):
            if not value >= least:  # a score that is not a number keeps nothing
                judged[index][1].append(JUDGED)
    kept = [row for row, found in judged if not found]
    rejected = [{**row, "reasons": found} for row, found in judged if found]
    counts = collections.Counter(reason for _, found in judged for reason in found)
    return kept, rejected, {name: counts[name] for name in meanings_of(parts) if counts[name]}


def meanings_of(parts: Sequence[Part]) -> dict[str, str]:
    """What each reason of these parts means, in order; the first part's word counts."""
    meanings: dict[str, str] = {}
    for part in parts:
        meanings = {**part.kind.meanings, **meanings}
    ordered = [name for part in parts for name in part.kind.meanings]
    return {name: meanings[name] for name in ordered} | {JUDGED: _JUDGED_MEANING}


def _options(kind: Kind, settings: Mapping[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(kind.options)}
    return kind.options(**{name: value for name, value in settings.items() if name in names})


def _own_part(row: Row, by_name: Mapping[str, Part]) -> Part:
    name = row.get("kind")
    if not isinstance(name, str) or name not in by_name:
        raise UserError(
            f'a row of a mixed corpus has "kind" {name!r}; it must be one of {", ".join(by_name)}'
        )
    return by_name[name]
