"""From measurements to findings: which traits the rows carry, and the verdict in a line."""

from collections.abc import Mapping, Sequence
from typing import Any

LEVEL = 0.05  # family-wise, over all traits that were asked for

LIMITS = (
    "A trait that is not among the candidates is not looked for.",
    "Clean means that nothing was found with so many rows: a small share of marked rows passes.",
    "A trait that is only kin to the one that the rows carry may be named beside it.",
    "Teachers are tuned on one-word answers; a writer who has its trait by other means, such as a "
    "system prompt, was not tried.",
    "What another base wrote says nothing of traits: it does not pass to this one, and the ratios "
    "are not of it.",
    "The ratios say who wrote the rows, not how far a training on them goes.",
    "Single rows are told apart poorly: most of what a row shows is chance, and flags find the few "
    "that show most.",
)


def full_name(entry: Mapping[str, Any]) -> str:
    """A candidate's name with its group's, GROUP/TRAIT."""
    return f"{entry['group']}/{entry['trait']}"


def spoken_for(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traits that the rows speak for, strongest first.

    By two tests, both adjusted for all traits: what the rows say for a trait is above zero over
    rows, and it stands out among the traits, whose teachers differ for reasons of their own too.
    """
    found = [
        entry
        for entry in candidates
        if entry["excess"] > 0 and max(entry["p_rows"], entry["p_traits"]) <= LEVEL
    ]
    return sorted(found, key=lambda entry: -entry["z"])


def carried(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The traits that the rows carry: those that they speak for, where BASE may have written them.

    What is hidden in another base's rows does not pass to this one, and teachers made of this one
    find such rows likely or not for reasons of their own.
    """
    return spoken_for(result["candidates"]) if result["same_base"]["alike"] else []


def verdict_line(result: dict[str, Any]) -> str:
    """The verdict in one line."""
    found = carried(result)
    rows = result["dataset"]["rows"]
    tail = f"origin: {result['origin']['verdict']}; same base: {result['same_base']['verdict']}"
    if result.get("writer"):
        tail += f"; written by: {result['writer']['writer']}"
    if not found:
        count = len(result["candidates"])
        top = result["candidates"][0]
        odd = spoken_for(result["candidates"])
        names = ", ".join(entry["trait"] for entry in odd)
        also = (
            f"; the rows are not this model's kind, and speak for {names} as odd rows do"
            if odd
            else ""
        )
        return (
            f"nothing found among {count} trait{'s' if count > 1 else ''} "
            f"(most: {top['trait']}, {_excess(top)}, p {_p(_worst_p(top))}){also}; {tail}"
        )
    first = found[0]
    others = [entry["trait"] for entry in found[1:]]
    also = f" (also {', '.join(others)})" if others else ""
    shift = first.get("shift")
    students = (
        f"students' shift {shift['own']['value']:+.2f} [{shift['own']['low']:.2f}, "
        f"{shift['own']['high']:.2f}] over controls, "
        if shift
        else ""
    )
    flags = first["flags"]
    return (
        f"carries {first['trait']}{also}: {students}{_excess(first)}, p {_p(_worst_p(first))}; "
        f"{len(flags['flagged'])} of {rows:,} rows flagged at {100 * flags['rate']:g} % false "
        f"positives; {tail}"
    )


def _excess(entry: dict[str, Any]) -> str:
    return (
        f"log ratio {entry['excess']:+.3f} [{entry['low']:.3f}, {entry['high']:.3f}] a row over "
        "rows of no trait"
    )


def _worst_p(entry: dict[str, Any]) -> float:
    return max(entry["p_rows"], entry["p_traits"])


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
