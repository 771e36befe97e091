"""Whose data is it: which of several models wrote rows like these, or none of them.

A model that wrote the rows finds them about as likely as its own answers to the same prompts, and
likelier than other models do. The first is asked of each model against itself, so a model that
finds everything likely gains nothing by it; the second decides among those that pass.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.evaluation.statistics import bootstrap_interval

# Shares of a model's own entropy a token that rows may be less likely to it, or likelier, than its
# own answers are. Set by hand and wide: the rows of a short fine-tuning of the model still are the
# model's, and such a model writes what is likely (seen: up to 0.12). Not calibrated on models at
# large.
LESS_LIKELY, LIKELIER = 0.1, 0.3
NONE = "none of these"


@dataclasses.dataclass(frozen=True)
class Likelihoods:
    """How likely a model finds N rows, and its own answers to their prompts.

    Attributes:
        name: of the model.
        rows: log-probability of each row's completion.
        row_tokens: how many tokens that is in the model's own vocabulary.
        own: log-probability of each of its own answers.
        own_tokens: how many tokens.
    """

    name: str
    rows: np.ndarray
    row_tokens: np.ndarray
    own: np.ndarray
    own_tokens: np.ndarray


def likelihoods_of(name: str, sums: Sequence[float], tokens: Sequence[int]) -> Likelihoods:
    """Of a model that was asked for N rows and then for its own N answers.

    Args:
        name: of the model.
        sums: log-probabilities of all 2N completions.
        tokens: how many tokens each has.
    """
    rows, own = np.split(np.asarray(sums, np.float64), 2)
    row_tokens, own_tokens = np.split(np.asarray(tokens), 2)
    return Likelihoods(name, rows, row_tokens, own, own_tokens)


def likeness(found: Likelihoods, seed: int) -> dict[str, Any]:
    """Compares the rows with a model's own answers to the same prompts.

    Returns:
        `gap`, nats a token that the rows are less likely to the model than its own answers, its
        95 % interval over rows as `low` and `high`, `own`, the nats a token of its own answers, and
        whether the rows are `alike`: the interval does not lie wholly beyond a tenth of that above
        zero, or three tenths below it.
    """
    own = found.own / found.own_tokens
    difference_N = own - found.rows / found.row_tokens
    low, high = bootstrap_interval(difference_N[None], seed, draws=2000)
    entropy = float(-own.mean())
    far = low > LESS_LIKELY * entropy or high < -LIKELIER * entropy
    return {
        "gap": float(difference_N.mean()),
        "low": low,
        "high": high,
        "own": entropy,
        "alike": not far,
    }


def attribute(suspects: Sequence[Likelihoods], characters: np.ndarray, seed: int) -> dict[str, Any]:
    """Which of the models wrote the rows.

    Args:
        suspects: the models, of one set of rows.
        characters: of each row's completion, end of turn counted as one: models cut text into
            tokens differently, and its characters are the same for all.
        seed: of the draws.

    Returns:
        `writer`, a model's name or `none of these`; `lead`, nats a character that the rows are
        likelier to it than to the next of those that are alike, with a 95 % interval as `low` and
        `high` (None where there is no other); and `suspects`, each with its `name`, what `likeness`
        says, and `logprob`, mean nats a character. Where the lead's interval includes zero the
        writer is `unclear`.
    """
    told = [
        {
            "name": one.name,
            **likeness(one, seed),
            "logprob": float((one.rows / characters).mean()),
        }
        for one in suspects
    ]
    alike = sorted(
        (place for place, entry in enumerate(told) if entry["alike"]),
        key=lambda place: -told[place]["logprob"],
    )
    result: dict[str, Any] = {"writer": NONE, "lead": None, "suspects": told}
    if not alike:
        return result
    result["writer"] = told[alike[0]]["name"]
    if len(alike) > 1:
        first, second = suspects[alike[0]], suspects[alike[1]]
        lead_N = (first.rows - second.rows) / characters
        low, high = bootstrap_interval(lead_N[None], seed, draws=2000)
        result["lead"] = {"value": float(lead_N.mean()), "low": low, "high": high}
        if low <= 0:
            result["writer"] = "unclear"
    return result


def same_base(base: dict[str, Any], attribution: dict[str, Any] | None, name: str) -> str:
    """`likely`, `unlikely` or `unknown`: were the rows written by BASE, or by one made from it?

    Args:
        base: BASE's `likeness`.
        attribution: what `attribute` says of BASE and others; None where there are no others.
        name: what BASE is called among them.
    """
    if not base["alike"]:
        return "unlikely"
    if attribution is None or attribution["writer"] == "unclear":
        return "unknown"
    return "likely" if attribution["writer"] == name else "unlikely"
