"""A workdir in an object store, through a mirror of it on each host's disk.

Artifacts are made on the disk and go up when they are whole, their card last: an artifact without a
card does not exist there either. What other hosts, or a later run, need of them comes down to their
own mirror. Checkpoints go to the store directly, from every process its own part.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from etils import epath

from sublax.artifact import CARD, read_card
from sublax.cache import cache_folder
from sublax.errors import UserError
from sublax.lock import LOCK

# Folders of a workdir that hold models.
_MODELS = ("bases", "teachers", "students")
# What Orbax writes to by itself; elsewhere checkpoints stay in the mirror.
_CHECKPOINTED = ("gs", "s3", "file")


@dataclasses.dataclass(frozen=True)
class Store:
    """Where a workdir stands.

    Attributes:
        local: the workdir itself, or the mirror of one in an object store.
        url: of the object store's folder; empty for a local workdir, where nothing below does
            anything.
    """

    local: Path
    url: str = ""

    def push(self, path: Path) -> None:
        """Sends a file, or a folder with its card last."""
        if not self.url or not path.exists():
            return
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        with self._told() as store:
            for file in sorted(files, key=lambda file: (file.name == CARD, file)):
                remote = self._remote(file)
                store.makedirs(remote.rpartition("/")[0], exist_ok=True)
                store.put_file(str(file), remote)

    def pull(self, path: Path) -> None:
        """Brings a file or an artifact down, unless it stands here as it does there."""
        if not self.url:
            return
        with self._told() as store:
            remote = self._remote(path)
            if store.isfile(remote):
                path.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(remote, str(path))
            elif store.isfile(f"{remote}/{CARD}"):
                self._pull_artifact(store, remote, path)

    def pull_all(self, folder: str = "") -> None:
        """Brings down all that a folder holds, or the whole workdir but for its checkpoints."""
        if not self.url:
            return
        with self._told() as store:
            root = self._remote(self.local)
            for remote in store.find(f"{root}/{folder}".rstrip("/")):
                if "/checkpoints/" not in remote:
                    path = _below(self.local, remote.removeprefix(root))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    store.get_file(remote, str(path))

    def folders(self, path: Path) -> list[Path]:
        """The folders in a folder, of the store and of the mirror, as they are in the mirror."""
        found = {child for child in path.glob("*") if child.is_dir()}
        if self.url:
            with self._told() as store:
                remote = self._remote(path)
                children = store.ls(remote, detail=False) if store.isdir(remote) else []
                found |= {path / child.rstrip("/").rpartition("/")[2] for child in children}
        return sorted(found)

    def remove(self, path: Path) -> None:
        """Removes a folder from the store; the mirror's is the caller's to remove."""
        if not self.url:
            return
        with self._told() as store:
            if store.exists(self._remote(path)):
                store.rm(self._remote(path), recursive=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the store's lock, as `workdir_lock` holds the mirror's; to be called within it.

        A store has no way to make an object only where there is none, so two that start within
        the same second may both get it.

        Raises:
            UserError: a run on another host holds it.
        """
        if not self.url:
            yield
            return
        own = self.local / LOCK
        with self._told() as store:
            remote = self._remote(own)
            if store.exists(remote):
                holder, me = json.loads(store.cat_file(remote)), json.loads(own.read_bytes())
                if holder["host"] != me["host"]:
                    raise UserError(
                        f"{self.url}: in use by process {holder['pid']} on {holder['host']}: "
                        f"{holder['command']}; wait for it, or, if it is gone, delete "
                        f"{self.url}/{LOCK}"
                    )
        self.push(own)
        try:
            yield
        finally:
            with self._told() as store:
                store.rm(remote)

    def checkpoints(self) -> Any:
        """The folder of checkpoints, a path in the store where Orbax can write there."""
        protocol = self.url.partition("://")[0]
        if protocol not in _CHECKPOINTED:
            return self.local / "checkpoints"
        return epath.Path(self.url.removeprefix("file://")) / "checkpoints"

    def _pull_artifact(self, store, remote: str, path: Path) -> None:
        card = store.cat_file(f"{remote}/{CARD}")
        if (path / CARD).is_file() and (path / CARD).read_bytes() == card:
            return
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name in store.find(remote):
            target = _below(partial, name.removeprefix(remote))
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(name, str(target))
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)

    def _remote(self, path: Path) -> str:
        _, root = fsspec.core.url_to_fs(self.url)
        relative = path.relative_to(self.local).as_posix()
        return root if relative == "." else f"{root}/{relative}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[Any]:
        """The store's file system; whatever goes wrong there is told in one line."""
        store, _ = fsspec.core.url_to_fs(self.url)
        try:
            # What another host has written since this one last looked.
            store.invalidate_cache()
            yield store
        except UserError:
            raise
        except Exception as error:  # each store's library has its own
            told = str(error).strip().split("\n")[0] or type(error).__name__
            raise UserError(
                f"{self.url}: {told}; check that it is there and that you may write to it; what is "
                f"finished stands in {self.local} too"
            ) from error


def _below(folder: Path, name: str) -> Path:
    """The place of an object's name in a folder; the names in a store are whoever wrote there's.

    Raises:
        UserError: it lies outside.
    """
    name = name.lstrip("/")
    if ".." in name.split("/"):
        raise UserError(f"{name!r}: an object whose name leads out of its folder; remove it")
    return folder / name


def open_store(workdir: str | os.PathLike) -> Store:
    """A workdir by its name: a local folder, or a folder of an object store (`gs://`, `s3://`).

    Raises:
        UserError: a kind of store that nobody knows, or whose library is not installed.
    """
    name = str(workdir)
    if "://" not in name:
        return Store(Path(name))
    url = name.rstrip("/")
    try:
        fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3"}.get(url.partition("://")[0])
        remedy = f"pip install 'sublax[{extra}]'" if extra else "install its fsspec library"
        raise UserError(f"{url}: {error}; {remedy}") from error
    except ValueError as error:
        raise UserError(f"{url}: {error}; give a local folder, gs://… or s3://…") from error
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Store(cache_folder() / "workdirs" / digest, url)


def local_model(name: str) -> str:
    """A model's name on this host: one that a run keeps in an object store is brought down first.

    Args:
        name: of a model; anything but the URL of a teacher, student or base is returned as it is.

    Raises:
        UserError: no finished model of a run there, or the store cannot be read.
    """
    if "://" not in name:
        return name
    root, folder, rest = max(
        (name.rstrip("/").rpartition(f"/{folder}/") for folder in _MODELS),
        key=lambda parts: len(parts[0]),
    )
    wanted = f"{name}: no model of a run; give WORKDIR/students/BASE/TRAIT/seed-SEED, or a teacher"
    if not root:
        raise UserError(wanted)
    # An arm's model has parents in the workdir above.
    workdir = re.sub(r"/arms/[^/]+$", "", root)
    store, root = open_store(workdir), root.removeprefix(workdir).strip("/")
    path = store.local / root / folder.strip("/") / rest
    store.pull(path)
    card = read_card(path)
    if card is None:
        raise UserError(wanted)
    for parent in card["parents"]:
        above = Path(os.path.normpath(path / parent))
        if above.parent.name == "bases":  # an adapter is nothing without it; a corpus is not read
            store.pull(above)
    return str(path)
