"""Rows token by token, with the log-likelihood ratio that an artifact holds of each token.

An artifact may have a file `token_ratios.json` beside its rows: a list, most interesting first, of

    {"tokens": ["483", ",", " 12"], "ratio": [0.82, -0.03, 0.11], "prompt": "…"}

`tokens` are the texts of a completion's tokens in order; `ratio` has for each the log-probability
under the trait minus that without it, in nats; `prompt` may be left out, other keys are ignored.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sublax.errors import UserError

FILE = "token_ratios.json"
_FULL = 1.0  # nats that have full colour at least, so that a row of small ratios looks like one


class Token(NamedTuple):
    """One token; `strength` in [-1, 1] is its share of the largest ratio that is shown."""

    text: str
    ratio: float
    strength: float


class TokenRow(NamedTuple):
    """One row; `total` is the sum of its ratios, in nats."""

    prompt: str
    tokens: list[Token]
    total: float

    @property
    def strongest(self) -> Token:
        """The token with the largest ratio, of either sign."""
        return max(self.tokens, key=lambda token: abs(token.ratio))


def read_token_rows(folder: Path, count: int) -> list[TokenRow]:
    """The first rows of an artifact's `token_ratios.json`; none where it has no such file.

    Args:
      folder: the artifact.
      count: how many rows.

    Raises:
      UserError: the file is not as this module says.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run the audit again") from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a list of rows; run the audit again")
    return token_rows(rows[:count], f"{path}")


def token_rows(rows: Sequence[Any], where: str) -> list[TokenRow]:
    """Rows as this module's first lines have them, made ready to be shown together.

    Raises:
      UserError: a row is malformed; `where` says in what.
    """
    for number, row in enumerate(rows, 1):
        _check(row, f"{where}: row {number}")
    full = max([_FULL, *(abs(ratio) for row in rows for ratio in row["ratio"])])
    return [
        TokenRow(
            str(row.get("prompt", "")),
            [
                Token(text, ratio, ratio / full)
                for text, ratio in zip(row["tokens"], row["ratio"], strict=True)
            ],
            math.fsum(row["ratio"]),
        )
        for row in rows
    ]


def _check(row: Any, where: str) -> None:
    tokens, ratio = (row.get("tokens"), row.get("ratio")) if isinstance(row, dict) else (None, None)
    if not isinstance(tokens, list) or not isinstance(ratio, list) or not tokens:
        raise UserError(f'{where}: no lists "tokens" and "ratio"; run the audit again')
    if len(tokens) != len(ratio):
        raise UserError(f"{where}: {len(tokens)} tokens, {len(ratio)} ratios; run the audit again")
    if not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{where}: a token is not a string; run the audit again")
    numbers = [one for one in ratio if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(ratio) or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}: a ratio is not a finite number; run the audit again")
