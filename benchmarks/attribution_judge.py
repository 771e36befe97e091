"""Whom the audit names as the writer of rows whose writers are known."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from sublax.audit.suspects import NONE, Likelihoods, attribute
from sublax.keys import numpy_seed

ANSWERS = 4  # of the corpora, to each prompt
ROWS = (24, 80, 160)  # of a draw
DRAWS = 100
UNCLEAR = "unclear"

HEAD = """# Whose data: how often the audit is right

Written by `python -m benchmarks.attribution --seed={seed}` on {date}: SmolLM2-135M-Instruct and
neighbours of it (noise on its weights, by its share of their spread; layers left out), each of them
a writer and a suspect; rows of further neighbours, which are never suspects; the rows of a run of
`configs/text_alone.py`, whose teachers were tuned from the base and count as the base's; primes and
telephone numbers. Five numbers a row.

*Suspected* has the writer among the five suspects, where it is one; *not suspected* has it left
out, so that `none of these` is right. Each cell: the share of {draws} draws of prompts where the
writer that was named is right, and what was named most often elsewhere. `unclear` is no right
answer, but not a wrong one either. Draws are of one set of rows, so that they say how certain an
answer is, not how other rows would do.

| rows of | draws of | suspected: right | unclear | wrong | not suspected: right | unclear | wrong |
|---|---|---|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """What suspects made of sets of N rows each.

    Attributes:
        writers: which suspect is to be named for a kind of rows; a kind that is not there has none.
        sums: by suspect and kind, log-probability of each row [N]; `own` are its own answers.
        tokens: by kind, how many tokens each row has.
        own_tokens: by suspect, those of its own answers.
        characters: by kind, of each row, the end of turn counted as one.
    """

    writers: Mapping[str, str]
    sums: Mapping[str, Mapping[str, np.ndarray]]
    tokens: Mapping[str, np.ndarray]
    own_tokens: Mapping[str, np.ndarray]
    characters: Mapping[str, np.ndarray]


def judged(found: Suspicion, seed: int) -> dict[str, Any]:
    """How often `attribute` is right on draws of each kind of rows.

    Returns:
        `kinds`, by kind of rows and number of rows a draw, with the writer among the suspects as
        `suspected` (None where it never is one) and without it as `left_out`: the shares `right`,
        `unclear` and `wrong`, and `instead`, the wrong name that is given most often (or None);
        `total`, by number of rows and setting, how many of the kinds' draws were right in all, with
        a 95 % interval over kinds; and `draws`.
    """
    kinds: dict[str, Any] = {}
    for kind in found.tokens:
        writer = found.writers.get(kind)
        others = [name for name in found.sums if name != writer]
        kinds[kind] = {
            f"{count}": {
                "suspected": _shares(found, kind, list(found.sums), writer, count, seed)
                if writer
                else None,
                "left_out": _shares(found, kind, others, None, count, seed),
            }
            for count in ROWS
        }
    return {"kinds": kinds, "total": _total(kinds), "draws": DRAWS}


def _shares(
    found: Suspicion,
    kind: str,
    suspects: Sequence[str],
    writer: str | None,
    count: int,
    seed: int,
) -> dict[str, Any]:
    right, prompts = writer or NONE, len(found.tokens[kind]) // ANSWERS
    named = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(numpy_seed(seed, "attribution", kind, count, draw))
        chosen = rng.integers(prompts, size=max(1, count // ANSWERS))
        where = (chosen[:, None] * ANSWERS + np.arange(ANSWERS)).ravel()
        asked = [
            Likelihoods(
                name,
                found.sums[name][kind][where],
                found.tokens[kind][where],
                found.sums[name]["own"][where],
                found.own_tokens[name][where],
            )
            for name in suspects
        ]
        named.append(attribute(asked, found.characters[kind][where], draw)["writer"])
    wrong = [name for name in named if name not in (right, UNCLEAR)]
    return {
        "right": named.count(right) / DRAWS,
        "unclear": named.count(UNCLEAR) / DRAWS,
        "wrong": len(wrong) / DRAWS,
        "instead": max(sorted(set(wrong)), key=wrong.count) if wrong else None,
    }


def _total(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """For how many kinds most draws are right, with the Wilson interval of that share."""
    total: dict[str, Any] = {}
    for count in map(str, ROWS):
        total[count] = {}
        for setting in ("suspected", "left_out"):
            told = [one[count][setting] for one in kinds.values() if one[count][setting]]
            hits = sum(one["right"] > 0.5 for one in told)
            interval = binomtest(hits, len(told)).proportion_ci(method="wilson")
            total[count][setting] = {
                "right": hits,
                "of": len(told),
                "low": float(interval.low),
                "high": float(interval.high),
            }
    return total


def page(result: Mapping[str, Any]) -> str:
    """The page of a result as `judged` returns it, with its `date` and `seed`."""
    text = HEAD.format(**{key: result[key] for key in ("seed", "date", "draws")})
    for kind, by_count in result["kinds"].items():
        for count, one in by_count.items():
            cells = f"{_cells(one['suspected'])} | {_cells(one['left_out'])}"
            text += f"| {kind} | {count} | {cells} |\n"
    text += "\nKinds of rows of which most draws are right, with a 95 % interval (Wilson):\n\n"
    text += "| draws of | suspected | not suspected |\n|---|---|---|\n"
    for count, by_setting in result["total"].items():
        cells = " | ".join(
            f"{one['right']} of {one['of']} [{100 * one['low']:.0f}, {100 * one['high']:.0f}] %"
            for one in by_setting.values()
        )
        text += f"| {count} | {cells} |\n"
    return text


def _cells(shares: Mapping[str, Any] | None) -> str:
    if shares is None:
        return "| | "
    wrong = f"{shares['wrong']:.2f}" + (f" ({shares['instead']})" if shares["instead"] else "")
    return f"{shares['right']:.2f} | {shares['unclear']:.2f} | {wrong}"
