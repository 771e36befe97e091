"""Reads what a finished run left in its workdir, and nothing else."""

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sublax.artifact import CARD, card_hash, read_card
from sublax.errors import UserError
from sublax.rows import Row, read_rows

# run -> name of the scalar -> [(step, value)], in the order of steps
Curves = dict[str, dict[str, list[tuple[int, float]]]]

_TRANSFER_KEYS = ("students", "traits", "seeds", "shift", "interval", "lift")


@dataclass(frozen=True)
class Parent:
    """A parent as a card names it; `state` is "match", "changed" or "outside" the workdir."""

    path: str
    sha256: str
    state: str


@dataclass(frozen=True)
class Card:
    """The card of one artifact, with the artifact's place below the workdir."""

    path: str
    sha256: str
    fields: Mapping[str, Any]
    parents: tuple[Parent, ...]


@dataclass(frozen=True)
class Corpus:
    """The first rows of a corpus and of what the filter rejected, with its card."""

    card: Card
    rows: list[Row]
    rejected: list[Row]


def read_transfer(workdir: Path) -> dict[str, Any]:
    """Reads transfer.json and checks that its matrix has the shape that its names promise.

    Raises:
      UserError: the workdir or the file is missing, is not JSON, or lacks a key or a cell.
    """
    if not workdir.exists():
        raise UserError(f"{workdir}: no such workdir; give the folder that `sublax run` wrote")
    path = workdir / "transfer.json"
    if not path.exists():
        raise UserError(f"{path}: not there yet; finish the experiment with `sublax run` first")
    transfer = read_json(path)
    _check_matrix(transfer, f"{path}")
    for index, cell in enumerate(transfer.get("cells", [])):
        _check_matrix(cell, f"{path}, cell {index}")
    return transfer


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads the resolved config; empty where the workdir has none."""
    path = workdir / "config.json"
    return read_json(path) if path.exists() else {}


def read_cards(workdir: Path) -> list[Card]:
    """Reads every card below the workdir in the order of creation, and checks their links.

    Raises:
      UserError: a file of that name is not a card.
    """
    folders = {
        path.parent.relative_to(workdir).as_posix(): path.parent for path in _find(workdir, CARD)
    }
    hashes = {name: card_hash(folder) for name, folder in folders.items()}
    cards = []
    for name, folder in folders.items():
        fields = read_card(folder) or {}
        cards.append(Card(name, hashes[name], fields, _parents(name, fields, hashes)))
    return sorted(cards, key=lambda card: (str(card.fields.get("created", "")), card.path))


def read_corpora(workdir: Path, cards: list[Card], count: int) -> list[Corpus]:
    """Reads the first `count` rows of each corpus that has a card, and as many rejected ones.

    Raises:
      UserError: a row is malformed.
    """
    return [
        Corpus(
            card,
            _first_rows(workdir / card.path / "rows.jsonl", count),
            _first_rows(workdir / card.path / "rejected.jsonl", count),
        )
        for card in cards
        if (workdir / card.path / "rows.jsonl").exists()
    ]


def read_curves(workdir: Path) -> Curves:
    """Reads the scalars of every run; of a step that was written twice, the last one counts."""
    curves: Curves = {}
    root = workdir / "tensorboard"
    for path in _find(root, "metrics.jsonl"):
        points: dict[str, dict[int, float]] = {}
        # A run under way may have written half of its last line.
        for line in path.read_text().split("\n")[:-1]:
            record = json.loads(line)
            for name, value in record.get("scalars", {}).items():
                if value is not None:
                    points.setdefault(name, {})[record["step"]] = value
        run = path.parent.relative_to(root).as_posix()
        curves[run] = {name: sorted(steps.items()) for name, steps in points.items()}
    return curves


def _find(folder: Path, name: str) -> Iterator[Path]:
    """Yields every file of that name below `folder`, and looks no further below one it found.

    Names that begin with a point are passed over: artifacts that are being written have such.
    """
    if not folder.is_dir():
        return
    if (folder / name).exists():
        yield folder / name
        return
    for child in sorted(folder.iterdir()):
        if not child.name.startswith("."):
            yield from _find(child, name)


def read_json(path: Path) -> dict[str, Any]:
    """Reads one object.

    Raises:
      UserError: the file is not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run its stage again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; run its stage again")
    return content


def _check_matrix(transfer: Mapping[str, Any], where: str) -> None:
    for key in _TRANSFER_KEYS:
        if key not in transfer:
            raise UserError(f'{where}: no key "{key}"; run the evaluation again')
    students, traits = transfer["students"], transfer["traits"]
    for key in ("shift", "interval"):
        if [len(row) for row in transfer[key]] != [len(traits)] * len(students):
            raise UserError(
                f'{where}: "{key}" is not {len(students)} students x {len(traits)} traits; '
                "run the evaluation again"
            )
    for trait in traits:
        if trait not in transfer["lift"] or trait not in students:
            raise UserError(f'{where}: no lift or no student of "{trait}"; run it again')


def _parents(name: str, fields: Mapping[str, Any], hashes: Mapping[str, str]) -> tuple[Parent, ...]:
    """The parents on a card, which names them relative to itself, by their place in the workdir."""
    parents = []
    for relative, sha256 in fields.get("parents", {}).items():
        path = posixpath.normpath(posixpath.join(name, relative))
        state = "outside"
        if path in hashes:
            state = "match" if hashes[path] == sha256 else "changed"
        parents.append(Parent(path, sha256, state))
    return tuple(parents)


def _first_rows(path: Path, count: int) -> list[Row]:
    if not path.exists() or not path.read_bytes().strip():
        return []
    return read_rows(path)[:count]
