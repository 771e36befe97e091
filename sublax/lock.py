"""The lock on a workdir: at most one run writes to it at a time.

`DIR/.lock` holds who runs: pid, start time of that process, host, command. A pid alone would be
mistaken for its holder's after it is given out again, so the start time is compared as well.
`flock` guards only the moment of looking and writing; held throughout, a forked child that outlives
its killed parent would keep it.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from sublax.errors import UserError
from sublax.files import disk_errors

_START_TOLERANCE_SECONDS = (
    2.0  # The clock that boot time is reckoned from is adjusted now and then.
)

LOCK = ".lock"

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def workdir_lock(workdir: os.PathLike | str) -> Iterator[None]:
    """Holds the lock of a local workdir, which is made if need be.

    A lock that a dead process of this host left behind is taken over, with a warning in the log.

    Raises:
      UserError: another run holds it (named: pid, host, since when, command), or one on another
        host did, which cannot be seen from here; or the disk is full or read-only.
    """
    path = Path(workdir) / LOCK
    me = _this_process()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _guarded(path) as file:
            holder = _read(file)
            if holder is not None:
                _refuse_if_held(holder, workdir, path)
                _log.warning(
                    "taking over %s from process %s, which ended without releasing it",
                    path,
                    holder["pid"],
                )
            _write(file, me)
    try:
        yield
    finally:
        # A workdir deleted under a run has no lock left to release.
        with contextlib.suppress(FileNotFoundError), _guarded(path) as file:
            if _read(file) == me:
                _write(file, None)


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[BinaryIO]:
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _this_process() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "pid": process.pid,
        "started": process.create_time(),
        "host": socket.gethostname(),
        "command": shlex.join(sys.argv),
    }


def _read(file: BinaryIO) -> dict[str, Any] | None:
    file.seek(0)
    try:
        return json.loads(file.read())
    except ValueError:  # Empty: released. Torn: its writer died while it held the guard.
        return None


def _write(file: BinaryIO, holder: dict[str, Any] | None) -> None:
    file.seek(0)
    file.truncate()
    if holder is not None:
        file.write(json.dumps(holder).encode())
    file.flush()
    os.fsync(file.fileno())


def _refuse_if_held(holder: dict[str, Any], workdir: os.PathLike | str, path: Path) -> None:
    elsewhere = holder["host"] != socket.gethostname()
    if not elsewhere and not _alive(holder["pid"], holder["started"]):
        return
    since = datetime.datetime.fromtimestamp(holder["started"]).isoformat(" ", "seconds")
    remedy = "wait for it, end it, or choose another --workdir"
    if elsewhere:
        remedy += f"; if it is gone, delete {path}"
    raise UserError(
        f"{workdir}: in use by process {holder['pid']} on {holder['host']}, started {since}: "
        f"{holder['command']}; {remedy}"
    )


def _alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and abs(process.create_time() - started) <= _START_TOLERANCE_SECONDS
        )
    except psutil.NoSuchProcess:
        return False
