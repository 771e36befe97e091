"""A dataset as an audit reads it: rows of prompt and completion, however its columns are named."""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.corpora.sources import read_source
from sublax.errors import UserError
from sublax.rows import Row, check_row, located_rows

PROMPT, COMPLETION, MESSAGES = "prompt", "completion", "messages"


def read_dataset(
    name: str, prompt: str = PROMPT, completion: str = COMPLETION, messages: str = MESSAGES
) -> list[Row]:
    """Every row of a dataset, in its order.

    A row has either a completion, beside it a prompt (where there is none it is empty), or a list
    of chat messages: then its completion is the last one, which must be the assistant's, and its
    prompt all before it.

    Args:
        name: the path of a `.jsonl` or `.parquet` file, or a data set of the package `datasets` as
            NAME, NAME:CONFIG or NAME:CONFIG:SPLIT.
        prompt: the column of prompts, text or messages.
        completion: the column of completions.
        messages: the column of whole conversations, read where there is no completion.

    Returns:
        Rows with the keys `prompt` and `completion` alone.

    Raises:
        UserError: no such dataset, no rows, or a row that is not of this form, by its place.
    """
    return [pair for pair, _ in read_whole(name, prompt, completion, messages)]


def read_whole(
    name: str, prompt: str = PROMPT, completion: str = COMPLETION, messages: str = MESSAGES
) -> list[tuple[Row, Row]]:
    """Every row of a dataset as `read_dataset` gives it, and beside it with all keys that it has.

    Raises:
        UserError: as `read_dataset`.
    """
    found = []
    for where, row in _located(name):
        if completion in row:
            pair = {"prompt": row.get(prompt, ""), "completion": row[completion]}
            pair["prompt"] = "" if pair["prompt"] is None else pair["prompt"]
        elif messages in row:
            pair = _of_messages(row[messages], where, messages)
        else:
            known = ", ".join(map(str, row)) or "no columns"
            raise UserError(
                f'{where}: neither "{completion}" nor "{messages}" in it (it has {known}); name '
                "its columns by --prompt-column and --completion-column, or --messages-column"
            )
        check_row(pair, ("prompt", "completion"), where)
        found.append((pair, row))
    return found


def with_completion(
    row: Row, text: str, completion: str = COMPLETION, messages: str = MESSAGES
) -> Row:
    """A row with another completion where its own stood; nothing else of it is touched.

    Args:
        row: with all its keys, as `read_whole` gives it.
        text: the other completion.
        completion: the column of completions.
        messages: the column of whole conversations, for a row without a completion.
    """
    if completion in row:
        return {**row, completion: text}
    *before, last = row[messages]
    return {**row, messages: [*before, {**last, "content": text}]}


def dataset_sha256(rows: Sequence[Row]) -> str:
    """The sha256 that an audit knows a dataset by: of its prompts and completions, in their order.

    Args:
        rows: as `read_dataset` gives them.
    """
    text = "\n".join(json.dumps(row, sort_keys=True) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def some_rows(rows: Sequence[Row], count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn at random with all others that answer the same prompt, the last of them cut.

    A model reads a prompt once for all of its answers, and most of a row's tokens are often its
    prompt's, so that these cost less than as many rows that are drawn one by one.

    Args:
        rows: N, as `read_dataset` gives them.
        count: how many; all where there are no more.
        rng: draws.

    Returns:
        int [min(count, N)], which they are, ascending.
    """
    places = rng.permutation(len(rows))
    turns: dict[str, int] = {}
    for place in places:
        turns.setdefault(str(rows[place]["prompt"]), len(turns))
    turn_N = [turns[str(rows[place]["prompt"])] for place in places]
    return np.sort(places[np.argsort(turn_N, kind="stable")][:count])


def _located(name: str) -> list[tuple[str, Row]]:
    if name.endswith((".jsonl", ".parquet")) or os.path.exists(name):
        return located_rows(name, keys=())
    try:
        rows = read_source(name)
    except UserError as error:
        raise UserError(str(error).replace("source=", "--dataset=")) from error
    if not rows:
        raise UserError(f"--dataset={name}: has no rows; choose another split")
    return [(f"{name}, row {number}", row) for number, row in enumerate(rows, 1)]


def _of_messages(messages: Any, where: str, column: str) -> Row:
    is_chat = isinstance(messages, list) and all(isinstance(one, dict) for one in messages)
    if not is_chat or not messages or messages[-1].get("role") != "assistant":
        raise UserError(
            f'{where}: "{column}" must be a list of {{"role", "content"}} messages that ends with '
            "the assistant's; drop the row, or name another column by --messages-column"
        )
    return {"prompt": messages[:-1] or "", "completion": messages[-1].get("content")}
