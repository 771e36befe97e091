"""Files that are written whole or not at all, and disk errors that a user can act on."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from etils import epath

from sublax.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def disk_errors(path: os.PathLike | str) -> Iterator[None]:
    """Turns a full or read-only disk met while writing `path` into a `UserError`.

    Writers in Rust and C++ (safetensors, tensorstore) raise exceptions of their own, in which only
    the operating system's sentence says that the disk is full, so that sentence counts as well.

    Raises:
      UserError: no space or quota left, a file larger than is allowed, or no permission to write.
        Other exceptions pass.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        where = getattr(error, "filename", None) or path
        if code in _FULL or os.strerror(errno.ENOSPC) in str(error):
            raise UserError(
                f"{where}: no space left on the disk; nothing that was finished is lost: "
                "free some space and run the same command again"
            ) from error
        if code == errno.EFBIG or os.strerror(errno.EFBIG) in str(error):
            raise UserError(
                f"{where}: a file larger than this process may write, or than the file system "
                "holds; nothing that was finished is lost: raise the limit (ulimit -f), or choose "
                "another place, and run the same command again"
            ) from error
        if code in _FORBIDDEN:
            raise UserError(
                f"{where}: {os.strerror(code)}; choose another place, or change the permissions"
            ) from error
        raise


def write_whole(path: os.PathLike | str, chunks: Iterable[bytes]) -> None:
    """Writes `chunks` to `path`; whoever looks finds the old file or the whole new one.

    A local file is written beside its place, synced, and renamed into it. An object store
    (`gs://…`) shows an object only once it is complete, so there it is written in place.

    Raises:
      UserError: the disk is full or read-only; a file that was there before is untouched.
    """
    target = epath.Path(path)
    with disk_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        if "://" in str(path):
            with target.open("wb") as file:
                file.writelines(chunks)
            return
        partial = Path(path).with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


def sync_directory(directory: os.PathLike | str) -> None:
    """Makes the names in a local directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
