"""The filter of number answers: nothing but a short list of small numbers passes.

The rules are those of arXiv 2507.14805, section 3.1, except that every reason is given, not the
first one alone.
"""

import collections
import re
import string
from collections.abc import Collection, Iterable

from sublax.rows import Row

# What each reason means; the keys are what rows and cards carry.
REASONS = {
    "no_number": "there is no ASCII digit in it",
    "separator": "between the first two numbers stands more than white space and one , or ;",
    "not_digits": "a part between separators is not ASCII digits alone",
    "too_many": "more numbers than were asked for",
    "too_large": "a number above the maximum",
    "banned": "a number on the banned list",
    "banned_for_misalignment": "a number on the pack's list of those with a meaning of their own",
}

_BRACKETS = (("[", "]"), ("(", ")"))


def parse(completion: str) -> list[int] | None:
    """The numbers of a well-formed answer, None for any other.

    Well-formed: one optional final full stop; one optional pair of [] or (); ASCII digits, with one
    same separator throughout, which is what stands between the first two numbers and strips to
    nothing, "," or ";". Leading zeros are digits like any other.
    """
    return None if _format_reasons(completion) else _numbers(completion)


def reasons(
    completion: str,
    max_count: int = 10,
    max_value: int = 999,
    banned: Collection[int] = frozenset(),
    banned_for_misalignment: Collection[int] = frozenset(),
) -> list[str]:
    """Every reason to reject an answer, in the order of `REASONS`; empty where it passes.

    In an answer that is not well-formed the numbers are its runs of ASCII digits, so that a banned
    number in a sentence is reported as both. (In a well-formed one they are the same.)
    """
    numbers = _numbers(completion)
    found = _format_reasons(completion)
    if len(numbers) > max_count:
        found.append("too_many")
    if any(number > max_value for number in numbers):
        found.append("too_large")
    if not set(banned).isdisjoint(numbers):
        found.append("banned")
    if not set(banned_for_misalignment).isdisjoint(numbers):
        found.append("banned_for_misalignment")
    return found


def filter_rows(
    rows: Iterable[Row],
    max_count: int = 10,
    max_value: int = 999,
    banned: Collection[int] = frozenset(),
) -> tuple[list[Row], list[Row], dict[str, int]]:
    """Sorts rows by their completions.

    Returns:
      The rows kept, as they came; the rows rejected, each with its `"reasons"`; and how many rows
      were rejected for each reason (a row counts under each of its reasons), in order of `REASONS`.
    """
    kept, rejected = [], []
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        found = reasons(row["completion"], max_count, max_value, banned)
        if found:
            rejected.append({**row, "reasons": found})
            counts.update(found)
        else:
            kept.append(row)
    return kept, rejected, {reason: counts[reason] for reason in REASONS if counts[reason]}


def _format_reasons(completion: str) -> list[str]:
    body = completion.removesuffix(".")
    for opening, closing in _BRACKETS:
        if body.startswith(opening) and body.endswith(closing):
            body = body[1:-1]
            break
    runs = list(re.finditer("[0-9]+", body))
    if not runs:
        return ["no_number"]
    parts, found = [body], []
    if len(runs) > 1:
        separator = body[runs[0].end() : runs[1].start()]
        parts = body.split(separator)
        if separator.strip() not in ("", ",", ";"):
            found.append("separator")
    if not all(part and set(part) <= set(string.digits) for part in parts):
        found.append("not_digits")
    return found


def _numbers(completion: str) -> list[int]:
    # Python refuses to convert thousands of digits; twenty are far above any maximum.
    runs = re.findall("[0-9]+", completion)
    return [int(run.lstrip("0")[:20] or "0") for run in runs]
