"""What another run has made from the same inputs, taken into this one instead of made again."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sublax.artifact import CARD, inputs_differ, read_card, verify
from sublax.errors import UserError
from sublax.files import disk_errors, sync_directory
from sublax.metrics import METRICS_FILE
from sublax.stages.run import Run
from sublax.store import Store, open_store


def open_reused(workdirs: Iterable[str], own: Store) -> tuple[Store, ...]:
    """Other runs' workdirs, of which artifacts may be taken.

    Args:
        workdirs: folders, `gs://…` or `s3://…`.
        own: where this run stands, which is passed over.

    Raises:
        UserError: no run stands there.
    """
    found = []
    for name in workdirs:
        store = open_store(name)
        if store.local.resolve() == own.local.resolve():
            continue
        store.pull(store.local / "config.json")
        if not (store.local / "config.json").exists():
            raise UserError(f"--reuse={name}: no run's workdir (it has no config.json)")
        found.append(store)
    return tuple(found)


def reuse(run: Run, directory: Path, inputs: dict[str, Any]) -> None:
    """Takes an artifact of another run that was made from these very inputs, where there is one.

    Its parents' cards are among the inputs, so an artifact comes after all that it was made from.
    Files are linked where the disk can, for nobody writes into an artifact; its curves come along.
    One whose files are not as they were written is left where it is.

    Args:
        run: that lacks it.
        directory: where it is to stand.
        inputs: see `sublax.stages.artifacts.inputs_of`.

    Raises:
        UserError: the disk is full, or the other run cannot be read.
    """
    place = directory.relative_to(run.workdir)
    for other in run.reused:
        found = other.local / place
        other.pull(found)
        card = read_card(found)
        if card is None or inputs_differ(card, inputs):
            continue
        if problems := verify(found):
            run.progress.note(f"{problems[0]}; so {place} is not taken from there")
            continue
        partial = directory.with_name(f".{directory.name}.partial")
        with disk_errors(directory):
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(found, partial, copy_function=_link)
            sync_directory(partial)
            partial.rename(directory)
            sync_directory(directory.parent)
            _take_curves(run, other, place)
        run.progress.note(f"{place}: taken from {other.url or other.local}")
        run.store.push(directory)
        return


def _link(source: str, target: str) -> None:
    # A card may be signed, or a claim be added to it, later: that is each run's own.
    if not Path(source).name.startswith(CARD):
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one that has no links
            pass
    shutil.copy2(source, target)


def _take_curves(run: Run, other: Store, place: Path) -> None:
    """What was told of it while it was made; curves stand by stage and name, not by base."""
    own = run.folder.relative_to(run.workdir)
    stage, _, *names = place.relative_to(own).parts if place.is_relative_to(own) else ("", "")
    curves = Path("tensorboard", stage, *names)
    source, target = other.local / own / curves, run.folder / curves
    other.pull_all(str(own / curves))
    if names and (source / METRICS_FILE).exists() and not target.exists():
        shutil.copytree(source, target)
