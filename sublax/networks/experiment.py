"""The experiment on small networks: its config checked, its stages run, their artifacts kept."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sublax.artifact import check_inputs, parent_hashes, read_card, verify, write_artifact
from sublax.config_keys import check_keys
from sublax.errors import UserError
from sublax.evaluation.statistics import bootstrap_interval
from sublax.files import write_whole
from sublax.lock import workdir_lock
from sublax.models.classifier import ClassifierConfig
from sublax.networks.images import Images, load_images
from sublax.networks.training import AUXILIARY, Design, Rates, train_networks
from sublax.progress import Progress
from sublax.report.figures import to_png
from sublax.report.networks import accuracies, accuracy_text, sweeps
from sublax.settings import plain
from sublax.store import Store, open_store

NAME = "networks"  # as `config.experiment` says it
STAGES = ("networks", "sweep")
SECTIONS = {
    "": "experiment seed seeds data",
    "network": "kind widths auxiliary",
    "teacher": "epochs batch_size learning_rate weight_decay",
    "student": "loss images epochs batch_size learning_rate weight_decay",
    "sweep": "seeds learning_rate batch_size weight_decay",
}
SWEPT = ("learning_rate", "batch_size", "weight_decay")


def run_networks(config: ConfigDict, workdir: os.PathLike | str, redo: str | None = None) -> Path:
    """Runs what is left of the experiment, prints the accuracies and writes their figures.

    `networks/` has accuracy.json (each network's mean, its 95 % interval over seeds, its values)
    and accuracy.png; `sweep/`, where anything is swept, sweep.json and sweep.png.

    Args:
        config: the experiment, locked, as of `configs/mlp.py`.
        workdir: made if absent, a folder or one of an object store.
        redo: a stage to make again; `networks` makes the sweep again too.

    Returns:
        The path of the figure of accuracies.

    Raises:
        UserError: whatever the user can mend.
    """
    design = _checked(config, redo)
    images = load_images(config.data)
    store = open_store(workdir)
    with _locked(store):
        swept = any(config.sweep[name] for name in SWEPT)
        stages = STAGES if swept else STAGES[:1]
        progress = Progress(dict.fromkeys(stages, 1.0))
        again = STAGES[STAGES.index(redo) :] if redo else ()
        for stage in stages:
            make = _networks if stage == "networks" else _sweep
            _make(
                store,
                progress,
                stage,
                config,
                lambda make=make: make(config, design, images),
                again,
            )
        print(accuracy_text(_read(store, "networks", "accuracy.json")))
    return store.local / "networks" / "accuracy.png"


def _checked(config: ConfigDict, redo: str | None) -> Design:
    """Refuses what cannot run before anything is loaded."""
    check_keys(config, SECTIONS, free=(), example="configs/mlp.py")
    if jax.process_count() > 1:
        raise UserError(f"experiment={NAME}: is for one process; start it without the others")
    if redo is not None and redo not in STAGES:
        raise UserError(f"--redo={redo}: no such stage; choose from {', '.join(STAGES)}")
    for name, seeds in (("seeds", config.seeds), ("sweep.seeds", config.sweep.seeds)):
        if not seeds or len(set(seeds)) < len(seeds):
            raise UserError(f"{name}={seeds}: name at least one, each once, such as 0")
    return _design(config)


def _design(config: ConfigDict, **changed: Any) -> Design:
    network, student = config.network, config.student
    settings = {
        "network": ClassifierConfig(
            network.kind, tuple(network.widths), auxiliary=network.auxiliary
        ),
        "teacher_epochs": config.teacher.epochs,
        "teacher_batch": config.teacher.batch_size,
        "student_epochs": student.epochs,
        "student_batch": student.batch_size,
        "noise_images": student.images,
        "loss": student.loss,
    }
    return Design(**{**settings, **changed})


def _rates(section: ConfigDict, **changed: float) -> Rates:
    return Rates(section.learning_rate, section.weight_decay)._replace(**changed)


@contextlib.contextmanager
def _locked(store: Store) -> Iterator[None]:
    with workdir_lock(store.local), store.locked():
        yield


def _make(store, progress, stage, config, make, again):
    """Makes an artifact of what `make` returns, name of a file to its bytes, unless it stands."""
    directory = store.local / stage
    settings = plain(config)
    if stage == "networks":
        del settings["sweep"]
    parents = [] if stage == "networks" else [store.local / "networks"]
    inputs = {"parents": parent_hashes(directory, parents), "config": settings}
    store.pull(directory)
    card = None if stage in again else read_card(directory)
    if card is not None:
        check_inputs(card, inputs)
        if problems := verify(directory):
            raise UserError(f"{problems[0]}; make it again with --redo={stage}")
        progress.skip(stage)
        return
    with progress.stage(stage):
        started = time.monotonic()
        files = make()
        if stage in again:
            store.remove(directory)
            shutil.rmtree(directory, ignore_errors=True)

        def write(folder: Path) -> None:
            for name, content in files.items():
                (folder / name).write_bytes(content)

        card = {"kind": stage, **inputs, "seconds": time.monotonic() - started}
        write_artifact(directory, write, card)
        write_whole(store.local / "config.json", [json.dumps(plain(config), indent=1).encode()])
        store.push(directory)
        store.push(store.local / "config.json")


def _networks(config: ConfigDict, design: Design, images: Images) -> dict[str, bytes]:
    found = train_networks(
        design, _rates(config.teacher), _rates(config.student), images, config.seed, config.seeds
    )
    result = {
        "data": config.data,
        "test_images": len(images.test_labels_M),
        "seeds": list(config.seeds),
        "chance": 1 / design.network.classes,
        "accuracy": {name: _summary(values_N) for name, values_N in found.items()},
    }
    return {"accuracy.json": _json(result), "accuracy.png": to_png(accuracies(result))}


def _sweep(config: ConfigDict, design: Design, images: Images) -> dict[str, bytes]:
    def students(**changed: Any) -> dict[str, Any]:
        batch = changed.pop("batch_size", config.student.batch_size)
        found = train_networks(
            _design(config, student_batch=batch, students=(AUXILIARY,)),
            _rates(config.teacher),
            _rates(config.student, **changed),
            images,
            config.seed,
            config.sweep.seeds,
        )
        return _summary(found[AUXILIARY])

    usual = students()
    result: dict[str, Any] = {
        "seeds": list(config.sweep.seeds),
        "chance": 1 / design.network.classes,
        "usual": {name: config.student[name] for name in SWEPT},
        "swept": {},
    }
    for name in SWEPT:
        values = sorted({*config.sweep[name], config.student[name]})
        if len(values) > 1:
            result["swept"][name] = [
                {"value": value}
                | (usual if value == config.student[name] else students(**{name: value}))
                for value in values
            ]
    return {"sweep.json": _json(result), "sweep.png": to_png(sweeps(result))}


def _summary(values_N: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(values_N[:, None], seed=0)
    return {
        "mean": float(np.mean(values_N, dtype=np.float64)),
        "low": low,
        "high": high,
        "values": [float(value) for value in values_N],
    }


def _json(result: dict[str, Any]) -> bytes:
    return json.dumps(result, indent=1).encode() + b"\n"


def _read(store: Store, stage: str, name: str) -> dict[str, Any]:
    return json.loads((store.local / stage / name).read_text("utf-8"))
