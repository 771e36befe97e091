"""Samples of several processes as one: each writes the rows it drew, the first joins them.

A part is a file in the workdir. What its writer says of it goes to the first process beside the
disk, so a part that has not come, has come in part, or is left from an earlier run is found out.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load, save

from sublax.errors import UserError
from sublax.files import write_whole
from sublax.parallel.hosts import exchange, is_first, together
from sublax.sampling.sampler import Samples
from sublax.store import Store

_FIELDS = [field.name for field in dataclasses.fields(Samples)]
_REMEDY = "see that all hosts share this workdir and its disk is sound, then run the same command"


@dataclasses.dataclass(frozen=True)
class Part:
    """What a process says of the part that it wrote.

    Attributes:
        rows: how many it holds.
        size: in bytes.
        sha256: of the file.
    """

    rows: int
    size: int
    sha256: str


def gather(store: Store, folder: Path, samples: Samples, count: int) -> Samples | None:
    """All rows in their order in the first process, None in the others; a collective call.

    Args:
        store: the workdir.
        folder: for the parts, in the workdir; removed at the end.
        samples: this process' own rows, with `rows`.
        count: B, rows of all processes.

    Raises:
        UserError: in all processes: a part cannot be written, is missing or is not what was
            written, or the parts do not hold every row once.
    """
    processes = jax.process_count()
    if processes == 1:
        _remove(store, folder)
        return _in_order([samples], count, folder)
    paths = [part_path(folder, index, processes) for index in range(processes)]
    own, said, joined = paths[jax.process_index()], "", None
    try:
        with together():
            part = write_part(own, samples)
            store.push(own)
            said = json.dumps(dataclasses.asdict(part))
        parts = [Part(**json.loads(one)) for one in exchange(said)]
        with together():
            if is_first():
                for path in paths[1:]:
                    store.pull(path)
                joined = join_parts(paths, parts, count)
    finally:
        _remove(store, folder)
    return joined


def part_path(folder: Path, index: int, processes: int) -> Path:
    """Where a process' part stands."""
    return folder / f"part-{index}-of-{processes}.safetensors"


def write_part(path: Path, samples: Samples) -> Part:
    """Writes one process' rows, whole or not at all.

    Raises:
        UserError: the disk is full or read-only.
    """
    content = save({name: np.ascontiguousarray(getattr(samples, name)) for name in _FIELDS})
    write_whole(path, [content])
    return Part(len(samples.lengths), len(content), hashlib.sha256(content).hexdigest())


def join_parts(paths: Sequence[Path], parts: Sequence[Part], count: int) -> Samples:
    """All rows in their order, whoever wrote them.

    Args:
        paths: of the parts.
        parts: what their writers say of them.
        count: B, rows of all.

    Raises:
        UserError: names a part that is missing or is not what was written, or the rows that are in
            no part.
    """
    found = [_read(path, part) for path, part in zip(paths, parts, strict=True)]
    return _in_order(found, count, paths[0].parent)


def _read(path: Path, part: Part) -> Samples:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, where a process wrote {part.rows} rows; {_REMEDY}"
        ) from None
    if len(content) != part.size or hashlib.sha256(content).hexdigest() != part.sha256:
        raise UserError(
            f"{path}: not the {part.rows} rows in {part.size} bytes that a process wrote, but "
            f"{len(content)} bytes of something else; {_REMEDY}"
        )
    return Samples(**load(content))


def _in_order(found: list[Samples], count: int, where: Path) -> Samples:
    rows = np.concatenate([samples.rows for samples in found])
    order = np.argsort(rows)
    if not np.array_equal(rows[order], np.arange(count)):
        lost = np.setdiff1d(np.arange(count), rows)
        what = f"row {lost[0]} is in none" if len(lost) else "one is in two of them"
        raise UserError(f"{where}: parts with {len(rows)} of {count} rows, {what}; {_REMEDY}")
    whole = jax.tree.map(
        lambda *pieces: np.concatenate(pieces)[order] if len(pieces) > 1 else pieces[0], *found
    )
    return dataclasses.replace(whole, rows=None)


def _remove(store: Store, folder: Path) -> None:
    if is_first():
        store.remove(folder)
    shutil.rmtree(folder, ignore_errors=True)
