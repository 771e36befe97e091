"""An artifact: a directory that exists only when complete, with a card that says how it came to be.

It is written beside its place, as `.NAME.partial`, and renamed into it; `card.json` comes last. A
directory without a card is not an artifact.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sublax.errors import UserError
from sublax.files import disk_errors, sync_directory

CARD = "card.json"
SIGNATURE = "card.json.sig"  # beside a card that somebody has signed
_MOST_CARD_BYTES = 64 << 20

_PACKAGES = (
    "sublax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "transformers",
    "tokenizers",
    "outlines-core",
)


def write_artifact(
    directory: os.PathLike | str, write: Callable[[Path], None], card: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes an artifact whole, or leaves no trace of it.

    Args:
      directory: where the artifact shall stand (local). An older one there is replaced at the end;
        what a killed run left in `.NAME.partial` is removed at the start.
      write: is given an empty directory and writes the artifact's files into it, `card.json` apart.
      card: what the caller knows: `kind` (required), `parents`, `config`, `seeds`, `counts`, and
        `seconds` that making it took before it is written.

    Returns:
      The card as written: the caller's keys, and `files` (relative name to sha256), `versions`,
      `devices`, `created` (UTC, ISO 8601) and `seconds` (with those of writing and hashing).

    Raises:
      UserError: the disk is full or read-only, or `directory` is not a local path.
    """
    if "://" in str(directory):
        raise UserError(f"{directory}: artifacts are written to local folders; choose a local path")
    directory = Path(directory).absolute()
    partial = directory.with_name(f".{directory.name}.partial")
    replaced = directory.with_name(f".{directory.name}.replaced")
    with disk_errors(directory):
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            started = time.monotonic()
            write(partial)
            card = {
                "parents": {},
                "config": {},
                "seeds": {},
                "counts": {},
                **card,
                "kind": card["kind"],
                "files": _hash_and_sync(partial),
                "versions": versions(),
                "devices": devices(),
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(card.get("seconds", 0.0) + time.monotonic() - started, 3),
            }
            with (partial / CARD).open("w", encoding="utf-8") as file:
                json.dump(card, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(partial)
            if directory.exists():  # A directory that is not empty cannot be renamed over.
                directory.rename(replaced)
            partial.rename(directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_directory(directory.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    return card


def read_card(directory: os.PathLike | str) -> dict[str, Any] | None:
    """The card of the artifact in `directory`; None where there is no artifact.

    Raises:
      UserError: `card.json` is there but is not a card.
    """
    return read_card_file(Path(directory) / CARD)


def read_card_file(path: Path) -> dict[str, Any] | None:
    """The card in a file of any name; None where there is none.

    A card may come from a stranger: what it names lies within its own folder, or, for a parent,
    is told by a path relative to it.

    Raises:
      UserError: the file is there but is not a card.
    """
    mend = f"delete {path.parent} and make it again"
    try:
        if path.stat().st_size > _MOST_CARD_BYTES or not path.is_file():
            raise UserError(f"{path}: not a card (no file of a card's size); {mend}")
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a card ({error}); {mend}") from error
    if not isinstance(card, dict) or not {"kind", "files", "parents"} <= card.keys():
        raise UserError(f"{path}: not a card; {mend}")
    if not isinstance(card["kind"], str) or not isinstance(card.setdefault("config", {}), dict):
        raise UserError(f"{path}: not a card (its kind or config is of another type); {mend}")
    for key, fits in (("files", _is_within), ("parents", _is_relative)):
        if not isinstance(card[key], dict):
            raise UserError(f"{path}: not a card (its {key} are no object); {mend}")
        for name, digest in card[key].items():
            if not fits(name) or not isinstance(digest, str):
                raise UserError(f"{path}: not a card (it names {name!r} in its {key}); {mend}")
    return card


def card_hash(directory: os.PathLike | str) -> str:
    """The sha256 of an artifact's card; it stands for the whole artifact and its ancestors.

    Raises:
      UserError: there is no artifact in `directory`.
    """
    path = Path(directory) / CARD
    if not path.is_file():
        raise UserError(f"{directory}: no card.json, so no artifact; make it first")
    return file_hash(path)


def parent_hashes(
    directory: os.PathLike | str, parents: Iterable[os.PathLike | str]
) -> dict[str, str]:
    """The `parents` of a card: path of each parent relative to `directory`, to its card's sha256.

    Raises:
      UserError: a parent is not an artifact.
    """
    return {
        Path(os.path.relpath(parent, directory)).as_posix(): card_hash(parent) for parent in parents
    }


def verify(directory: os.PathLike | str, hash_of: Callable[[Path], str] | None = None) -> list[str]:
    """What is wrong with an artifact's files, one line each; empty where all is as on its card.

    Args:
      directory: the artifact's.
      hash_of: gives a file's sha256; `file_hash` by default.
    """
    hash_of = hash_of or file_hash
    directory = Path(directory)
    try:
        card = read_card(directory)
    except UserError as error:
        return [str(error)]
    if card is None:
        return [f"{directory}: no card.json, so no artifact"]
    present = {name: directory / name for name in _names(directory)}
    problems = []
    for name, digest in sorted(card["files"].items()):
        if name not in present:
            problems.append(f"{directory / name}: missing")
        elif not present[name].resolve().is_relative_to(directory.resolve()):
            problems.append(f"{directory / name}: a link that leads out of its folder")
        elif hash_of(present[name]) != digest:
            problems.append(f"{directory / name}: changed since it was written")
    for name in sorted(present.keys() - card["files"].keys()):
        problems.append(f"{directory / name}: not on the card")
    return problems


def check_inputs(
    card: Mapping[str, Any], inputs: Mapping[str, Any], stage: str | None = None
) -> None:
    """Refuses to pass off an artifact as the outcome of inputs that it did not come from.

    Args:
      card: the card of an artifact that is there already.
      inputs: what it would be made from now, under the card's own keys (`config`, `parents`, …).
      stage: the name that `--redo` knows the stage by; the card's `kind` when None.

    Raises:
      UserError: names each changed key (dotted) with its old and its new value.
    """
    if changes := inputs_differ(card, inputs):
        raise UserError(
            f"this workdir's {card['kind']} came from other inputs: {'; '.join(changes)}; "
            f"add --redo={stage or card['kind']} to make it again, or choose another --workdir"
        )


def inputs_differ(card: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """In which keys (dotted) a card's inputs are others, each with its old and its new value."""
    new = json.loads(json.dumps(inputs))  # Tuples become lists, as they did on the card.
    return list(_changes({key: card.get(key) for key in new}, new))


def versions() -> dict[str, str]:
    """Versions of Python and of those packages, of the ones that shape results, that are here.

    Where the code was shipped by a launcher, the commit too (`SUBLAX_COMMIT`).
    """
    found = {"python": platform.python_version()}
    if commit := os.environ.get("SUBLAX_COMMIT"):
        found["commit"] = commit
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def devices() -> dict[str, Any]:
    """What JAX sees: platform, kind, devices and processes by number; and this process' cores."""
    import jax  # Not at the top: checking a card needs no JAX, and importing it takes seconds.

    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "cores": _cores(),
    }


def _cores() -> int:
    """The CPU cores that this process may run on: all that a run on CPUs has to go by."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _names(directory: Path) -> list[str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    names = (path.relative_to(directory).as_posix() for path in files)
    return sorted(name for name in names if name not in (CARD, SIGNATURE))


def _is_relative(name: str) -> bool:
    """Whether a name is one of a path relative to somewhere."""
    # `isprintable` is false of what no file system takes, and of what would steer a terminal.
    return name.isprintable() and bool(name) and not name.startswith("/")


def _is_within(name: str) -> bool:
    """Whether a name is one of a file that can only lie within a folder."""
    return _is_relative(name) and ".." not in name.split("/")


def _hash_and_sync(directory: Path) -> dict[str, str]:
    for folder in (path for path in directory.rglob("*") if path.is_dir()):
        sync_directory(folder)
    return {name: file_hash(directory / name, sync=True) for name in _names(directory)}


def file_hash(path: Path, sync: bool = False) -> str:
    """The sha256 of a file, as hexadecimal digits; `sync` brings it to the disk first."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changes(old: Any, new: Any, path: str = "") -> Iterable[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


_ABSENT = object()


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
