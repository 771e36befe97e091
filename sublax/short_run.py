"""A run of a few stages on one process: each makes one result, once, and the page follows.

Experiments on small networks and on single steps are runs like this. The run over teachers, corpora
and students is `sublax.experiment`.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from sublax.artifact import check_inputs, parent_hashes, read_card, verify, write_artifact
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.lock import workdir_lock
from sublax.progress import Progress
from sublax.report.findings import closing_lines, write_findings
from sublax.settings import plain
from sublax.store import Store, open_store


class Stage(NamedTuple):
    """One result and what it comes from.

    Attributes:
        name: of the stage and of its folder in the workdir, which holds NAME.json.
        make: returns the result, as JSON has it.
        settings: the part of the config that it comes from.
        weight: seconds that it should take, or anything proportional to them.
        parents: names of stages before it.
    """

    name: str
    make: Callable[[], Mapping[str, Any]]
    settings: Mapping[str, Any]
    weight: float = 1.0
    parents: tuple[str, ...] = ()


def check_redo(redo: str | None, names: Sequence[str]) -> None:
    """Refuses what cannot run, before anything is loaded.

    Raises:
        UserError: there are several processes, or no stage of that name.
    """
    if jax.process_count() > 1:
        raise UserError("this experiment is for one process; start it without the others")
    if redo is not None and redo not in names:
        raise UserError(f"--redo={redo}: no such stage; choose from {', '.join(names)}")


def run_stages(
    config: ConfigDict, workdir: os.PathLike | str, stages: Sequence[Stage], redo: str | None
) -> Path:
    """Runs the stages that are left, prints what was found and writes the page.

    Args:
        config: the whole experiment's, kept beside the results.
        workdir: made if absent, a folder or one of an object store.
        stages: in order.
        redo: a stage to make again, with those that come from it.

    Returns:
        The path of the page.

    Raises:
        UserError: a result came from other inputs or was changed since, or what its stage raises.
    """
    store = open_store(workdir)
    with workdir_lock(store.local), store.locked():
        progress = Progress({stage.name: stage.weight for stage in stages})
        again: set[str] = set() if redo is None else {redo}
        for stage in stages:
            if again.intersection(stage.parents):
                again.add(stage.name)
            _keep(store, progress, config, stage, stage.name in again)
        page = write_findings(store.local)
        store.push(page)
        store.push(store.local / "figures")
        print("\n".join(closing_lines(store.local)))
    return page


def _keep(store: Store, progress: Progress, config: ConfigDict, stage: Stage, again: bool) -> None:
    """Makes a stage's artifact, unless it stands."""
    directory = store.local / stage.name
    parents = parent_hashes(directory, [store.local / name for name in stage.parents])
    inputs = {"parents": parents, "config": plain(dict(stage.settings))}
    store.pull(directory)
    card = None if again else read_card(directory)
    if card is not None:
        check_inputs(card, inputs)
        if problems := verify(directory):
            raise UserError(f"{problems[0]}; make it again with --redo={stage.name}")
        progress.skip(stage.name)
        return
    with progress.stage(stage.name):
        started = time.monotonic()
        result = stage.make()
        if again:
            store.remove(directory)
            shutil.rmtree(directory, ignore_errors=True)

        def write(folder: Path) -> None:
            text = json.dumps(result, indent=1, allow_nan=False)
            (folder / f"{stage.name}.json").write_text(f"{text}\n", "utf-8")

        card = {"kind": stage.name, **inputs, "seconds": time.monotonic() - started}
        write_artifact(directory, write, card)
        write_whole(store.local / "config.json", [json.dumps(plain(config), indent=1).encode()])
        store.push(directory)
        store.push(store.local / "config.json")
