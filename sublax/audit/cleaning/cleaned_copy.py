"""A cleaned copy on disk: its rows in a folder of their own, with a card that names its source."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sublax.artifact import (
    CARD,
    card_hash,
    check_inputs,
    file_hash,
    read_card,
    verify,
    write_artifact,
)
from sublax.audit.cleaning.cleaning import Cleaned, Dataset
from sublax.errors import UserError
from sublax.lineage.base_files import described_by, revision_of
from sublax.lineage.trace import artifact_of
from sublax.models.source import Model
from sublax.progress import Progress
from sublax.rows import row_line

KIND = "cleaned"


def check_place(output: Path, source: str) -> None:
    """Refuses a file of rows that cannot stand where it shall.

    Args:
        output: the file.
        source: the dataset's name.

    Raises:
        UserError: it is the dataset itself, or its folder belongs to something else.
    """
    folder = output.absolute().parent
    if os.path.exists(source) and os.path.realpath(source) == os.path.realpath(output):
        raise UserError(f"--output={output}: is the dataset itself; name another folder")
    for above in folder.parents:
        if (above / CARD).is_file():
            raise UserError(
                f"--output={output}: lies in {above}, an artifact whose card does not know it; "
                "name a folder elsewhere"
            )
    card = read_card(folder)
    if card is not None and card["kind"] != KIND:
        raise UserError(
            f"--output={output}: its folder is an artifact of kind {card['kind']}; name another"
        )
    if card is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"--output={output}: a copy and its card need a folder of their own, and {folder} "
            "holds other files; name one that is not there yet, as in clean/rows.jsonl"
        )


def keep_copy(
    output: Path,
    sources: Mapping[str, Dataset],
    settings: Mapping[str, Any],
    writer: Model | None,
    make: Callable[[], Cleaned],
    progress: Progress,
) -> dict[str, Any]:
    """Writes a cleaned copy, unless the same stands there already.

    The card has under `rows_sha256` the sha256 of each source's file, by its path from the card's
    folder; under `rows_cards`, where that file is of an artifact, the sha256 of its card; under
    `sources` the names of data sets that are no files; and under `base` and `source_files` the
    model that some of the text comes from.

    Args:
        output: the file of rows, in a folder of its own.
        sources: the datasets that its rows come from, by what they are for.
        settings: what it comes from beside them.
        writer: a model that some of the text comes from.
        make: cleans.
        progress: has a stage of the method's name.

    Returns:
        The card's counts.

    Raises:
        UserError: a copy from other inputs stands there, or one that was changed since; or a row
            cannot be written as JSON.
    """
    check_place(output, sources["dataset"].name)
    folder = output.absolute().parent
    config = {**settings, **_origin(folder, sources)}
    beside: dict[str, Any] = {}
    if writer is not None:
        hashes = {path.name: file_hash(path) for path in writer.files}
        config |= {"base": writer.name, "source_files": hashes}
        beside["described_by"] = described_by(writer.files)
        if revision := revision_of(writer.files):
            beside["revision"] = revision
    method, card = settings["method"], read_card(folder)
    if card is not None:
        _check(output, card, config)
        progress.skip(method)
        return card["counts"]
    with progress.stage(method):
        started = time.monotonic()
        cleaned = make()
        lines = [_line(row, number) for number, row in enumerate(cleaned.rows, 1)]

        def write(partial: Path) -> None:
            (partial / output.name).write_text("".join(lines), "utf-8")

        card = write_artifact(
            folder,
            write,
            {
                "kind": KIND,
                "config": config,
                "seeds": [settings["seed"]],
                "counts": cleaned.counts,
                "seconds": time.monotonic() - started,
                **beside,
            },
        )
    return card["counts"]


def _origin(folder: Path, sources: Mapping[str, Dataset]) -> dict[str, Any]:
    files, cards, names = {}, {}, []
    for dataset in sources.values():
        place = Path(dataset.name)
        if not place.is_file():
            names.append(dataset.name)
            continue
        name = Path(os.path.relpath(place.absolute(), folder)).as_posix()
        files[name] = file_hash(place)
        if (artifact := artifact_of(place)) is not None:
            cards[name] = card_hash(artifact)
    found = {"rows_sha256": files, "rows_cards": cards, "sources": names}
    return {key: value for key, value in found.items() if value}


def _check(output: Path, card: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    folder, remedy = output.absolute().parent, "choose another --output, or delete that folder"
    try:
        check_inputs(card, {"config": config})
    except UserError as error:
        changes = str(error).partition("inputs: ")[2].partition("; add --redo")[0]
        raise UserError(
            f"{folder}: holds a copy from other inputs ({changes}); {remedy}"
        ) from error
    if problems := verify(folder):
        raise UserError(f"{problems[0]}; {remedy}")
    if output.name not in card["files"]:
        raise UserError(f"{folder}: holds the same copy by another name; {remedy}")


def _line(row: Mapping[str, Any], number: int) -> str:
    try:
        return row_line(dict(row))
    except TypeError as error:
        raise UserError(
            f"row {number} of the cleaned rows cannot be written as JSON ({error}); leave that "
            "column out of the dataset"
        ) from error
