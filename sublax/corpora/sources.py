"""Tasks that others wrote: from a local file, or a data set through the package `datasets`."""

import os

import numpy as np

from sublax.errors import UserError
from sublax.rows import Row, read_rows

SOURCE_HELP = (
    "whose tasks: a local .jsonl or .parquet file, or a data set as NAME, NAME:CONFIG or "
    "NAME:CONFIG:SPLIT (default: our own)"
)


def read_source(source: str) -> list[Row]:
    """All rows of a source.

    Args:
      source: the path of a `.jsonl` or `.parquet` file, or a data set, as in
        "openai/gsm8k:main:train". CONFIG may be empty. The split is "train" where there is one,
        else the first, unless it is named.

    Raises:
      UserError: no such file, `datasets` is not installed, or the data set cannot be had.
    """
    if source.endswith((".jsonl", ".parquet")) or os.path.exists(source):
        return read_rows(source, keys=())
    name, config, split = (*source.split(":"), "", "")[:3]
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"source={source}: no such file, and data sets need the package datasets: "
            "pip install 'sublax[datasets]', or give the path of a .jsonl file"
        ) from error
    try:
        found = datasets.load_dataset(name, config or None, split=split or None)
        if not split:
            found = found["train"] if "train" in found else next(iter(found.values()))
        return [dict(row) for row in found]
    # Whatever it is of the many errors that its readers and its network have, it is told.
    except Exception as error:
        raise UserError(
            f"source={source}: could not be loaded ({type(error).__name__}: {error}); check name, "
            "config and split, and the network, or give the path of a .jsonl file"
        ) from error


def text_of(row: Row, keys: tuple[str, ...], source: str) -> str:
    """The first of the keys that the row has text under.

    Raises:
      UserError: it has none of them.
    """
    for key in keys:
        if isinstance(row.get(key), str) and row[key].strip():
            return row[key]
    raise UserError(
        f"source={source}: a row has no text under {' or '.join(keys)} (it has "
        f"{', '.join(map(str, row)) or 'nothing'}); name the column so"
    )


def drawn_rows(source: str, seed: int, count: int) -> list[Row]:
    """`count` distinct rows of a source, the first n whatever the count.

    Raises:
      UserError: as `read_source` and `check_count`.
    """
    rows = read_source(source)
    check_count(f"source={source}", seed, count, len(rows))
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[index] for index in order[:count].tolist()]


def check_count(of: str, seed: int, count: int, available: int) -> None:
    """Refuses to draw what there is not.

    Raises:
      UserError: a negative seed or count, or more prompts than there are.
    """
    if seed < 0 or count < 0:
        raise UserError(f"seed {seed}, count {count}: neither may be negative; use 0 or more")
    if count > available:
        raise UserError(
            f"{count} prompts: {of} has {available} distinct ones; ask for fewer, and for more "
            "answers to each"
        )
