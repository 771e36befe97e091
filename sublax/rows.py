"""Rows of a dataset, read from and written to JSON lines."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from sublax.errors import UserError
from sublax.files import write_whole

Row = dict[str, Any]

_SHAPE = '{"prompt": ..., "completion": ...}'


def read_rows(path: os.PathLike | str, keys: Sequence[str] = ("prompt", "completion")) -> list[Row]:
    """Reads every row of a JSON-lines file (or of a `.parquet` file), checked.

    A prompt is a string or a non-empty list of `{"role", "content"}` messages; a completion is a
    string. Keys beyond those asked for pass through untouched; lines of white space are skipped.

    Args:
      path: a local path or a `gs://` address. `.parquet` needs the package pyarrow.
      keys: the keys that every row must have.

    Raises:
      UserError: no such file, not UTF-8, no rows, or a malformed row (named by its line number).
    """
    return [row for _, row in located_rows(path, keys)]


def located_rows(
    path: os.PathLike | str, keys: Sequence[str] = ("prompt", "completion")
) -> list[tuple[str, Row]]:
    """Reads rows as `read_rows` does, each with where it stands, as in `rows.jsonl:12`.

    Raises:
      UserError: as `read_rows`.
    """
    source = epath.Path(path)
    if not source.exists():
        raise UserError(f"{path}: no such file; check the path")
    if source.is_dir():
        raise UserError(f"{path}: is a directory; name the file of rows in it")
    parsed = _parquet_rows(source) if source.suffix == ".parquet" else _json_rows(source)
    rows = []
    for where, row in parsed:
        check_row(row, keys, where)
        rows.append((where, row))
    if not rows:
        raise UserError(f"{path}: the file has no rows; it needs one {_SHAPE} a line")
    return rows


def write_rows(path: os.PathLike | str, rows: Iterable[Row]) -> None:
    """Writes rows as UTF-8 JSON lines, whole or not at all; missing folders are made.

    Raises:
      UserError: the disk is full or read-only.
    """
    write_whole(path, (row_line(row).encode() for row in rows))


def row_line(row: Row) -> str:
    """One row as one line of JSON, with its line feed."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _json_rows(path: epath.Path) -> Iterator[tuple[str, Any]]:
    # Iterating a binary file splits at line feeds alone; text may hold U+2028 or U+0085.
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{where}: not UTF-8 (byte {error.start + 1} of the line); "
                    "save the file as UTF-8 without compression"
                ) from error
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                if "\\u" in text:  # The only way for half a surrogate pair to come in.
                    json.dumps(row, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise UserError(
                    f"{where}: half a surrogate pair, which is no character; mend that escape"
                ) from error
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: not JSON ({error}); a line must be {_SHAPE}") from error
            yield where, row


def _parquet_rows(path: epath.Path) -> Iterator[tuple[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from error
    number = 0
    with path.open("rb") as file:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{path}: not a Parquet file ({error}); check the file") from error


def check_row(row: Any, keys: Sequence[str], where: str) -> None:
    """Refuses a row that lacks a key, or whose prompt or completion is not what it must be.

    Args:
      row: as it was read.
      keys: that it must have; of these, a prompt and a completion are looked at.
      where: it stands, for the error.

    Raises:
      UserError: says what is wrong with it.
    """
    if not isinstance(row, dict):
        raise UserError(f"{where}: {_name(row)} where a row should be; a row is {_SHAPE}")
    for key in keys:
        if key not in row:
            raise UserError(f'{where}: no key "{key}"; a row is {_SHAPE}')
    if "prompt" in keys:
        _check_prompt(row["prompt"], where)
    if "completion" in keys and not isinstance(row["completion"], str):
        raise UserError(f'{where}: "completion" is {_name(row["completion"])}; it must be a string')


def _check_prompt(prompt: Any, where: str) -> None:
    if isinstance(prompt, str):
        return
    if not isinstance(prompt, list):
        raise UserError(
            f'{where}: "prompt" is {_name(prompt)}; '
            'it must be a string or a list of {"role", "content"} messages'
        )
    if not prompt:
        raise UserError(f'{where}: "prompt" is an empty list; it needs at least one message')
    for index, message in enumerate(prompt):
        for key in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(key), str):
                raise UserError(
                    f'{where}: message {index} of "prompt" has no string "{key}"; '
                    'a message is {"role": ..., "content": ...}'
                )


def _name(value: Any) -> str:
    """What JSON calls a value, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
