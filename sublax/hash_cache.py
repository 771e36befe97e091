"""The sha256 of large files, taken once and remembered for as long as a file stays as it is."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sublax.cache import cache_folder
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.progress import Bar

# Smaller files are read again each time: that is quicker than to doubt what is remembered.
LEAST_BYTES = 64 << 20
_CHUNK = 8 << 20
_TOLD = 1 << 30  # from here on a reader of a log file wants to know why nothing happens
_MOST_KEPT = 1000


def large_file_hash(
    path: Path, fresh: bool = False, shown: bool = True, least_bytes: int = LEAST_BYTES
) -> str:
    """The sha256 of a file, as hexadecimal digits.

    A file's size, inode and times of change (`mtime` and `ctime`) must be those that it had when
    its hash was remembered in the cache folder; else it is read again, with a bar.

    Args:
        path: of the file; a link is followed.
        fresh: read it whatever is remembered.
        shown: whether to draw the bar.
        least_bytes: files below that size are never remembered.

    Raises:
        UserError: it cannot be read.
    """
    try:
        place = path.resolve()
        if not place.is_file():
            raise UserError(f"{path}: no such file; check the path")
        status = place.stat()
        known = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        if status.st_size < least_bytes:
            return _hash(place, status.st_size, shown=False)
        kept = _read()
        if not fresh and str(place) in kept and kept[str(place)][:-1] == known:
            return kept[str(place)][-1]
        digest = _hash(place, status.st_size, shown)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); check the file") from error
    _write({**_read(), str(place): [*known, digest]})
    return digest


def _hash(path: Path, size: int, shown: bool) -> str:
    if shown and size >= _TOLD:
        print(f"{path}: reading {size / 1e9:.1f} GB for its sha256", file=sys.stderr)
    digest = hashlib.sha256()
    bar = Bar(-(-size // _CHUNK), unit="part of 8 MiB", label=f"sha256 {path.name}", enabled=shown)
    with path.open("rb") as file, bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.advance()
    return digest.hexdigest()


def _file() -> Path:
    return cache_folder() / "hashes.json"


def _read() -> dict[str, list[Any]]:
    try:
        kept = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {place: entry for place, entry in kept.items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 5 and isinstance(entry[-1], str)


def _write(kept: dict[str, list[Any]]) -> None:
    latest = dict(list(kept.items())[-_MOST_KEPT:])
    try:
        write_whole(_file(), [json.dumps(latest, indent=1).encode()])
    except (OSError, UserError):
        return  # no place to remember it: it will be read again
