"""The experiment on small networks: its config checked, its two stages."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sublax.config_keys import check_keys
from sublax.errors import UserError
from sublax.evaluation.statistics import bootstrap_interval
from sublax.models.classifier import ClassifierConfig
from sublax.networks.images import Images, load_images
from sublax.networks.training import AUXILIARY, Design, Rates, train_networks
from sublax.settings import plain
from sublax.short_run import Stage, check_redo, run_stages

NAME = "networks"  # as `config.experiment` says it
STAGES = ("networks", "sweep")
SECTIONS = {
    "": "experiment seed seeds data",
    "network": "kind widths auxiliary activation bias",
    "teacher": "epochs batch_size learning_rate weight_decay",
    "student": "loss images epochs batch_size learning_rate weight_decay",
    "sweep": "seeds learning_rate batch_size weight_decay",
}
SWEPT = ("learning_rate", "batch_size", "weight_decay")


def run_networks(config: ConfigDict, workdir: os.PathLike | str, redo: str | None = None) -> Path:
    """Runs what is left of the experiment, prints the accuracies and writes the page.

    `networks/networks.json` has each network's mean accuracy, its 95 % interval over seeds and its
    values; `sweep/sweep.json`, where anything is swept, the same over each setting.

    Args:
        config: the experiment, locked, as of `configs/mlp.py`.
        workdir: made if absent, a folder or one of an object store.
        redo: a stage to make again; `networks` makes the sweep again too.

    Returns:
        The path of the page.

    Raises:
        UserError: whatever the user can mend.
    """
    check_keys(config, SECTIONS, free=(), example="configs/mlp.py")
    check_redo(redo, STAGES)
    for name, seeds in (("seeds", config.seeds), ("sweep.seeds", config.sweep.seeds)):
        if not seeds or len(set(seeds)) < len(seeds):
            raise UserError(f"{name}={seeds}: name at least one, each once, such as 0")
    design, images = _design(config), load_images(config.data)
    everything = plain(config)
    unswept = {name: value for name, value in everything.items() if name != "sweep"}
    stages = [Stage("networks", lambda: _networks(config, design, images), unswept)]
    if any(config.sweep[name] for name in SWEPT):
        stages.append(
            Stage(
                "sweep", lambda: _sweep(config, design, images), everything, parents=("networks",)
            )
        )
    return run_stages(config, workdir, stages, redo)


def _design(config: ConfigDict, **changed: Any) -> Design:
    network, student = config.network, config.student
    settings = {
        "network": ClassifierConfig(
            network.kind,
            tuple(network.widths),
            auxiliary=network.auxiliary,
            activation=network.activation,
            bias=network.bias,
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


def _networks(config: ConfigDict, design: Design, images: Images) -> dict[str, Any]:
    found = train_networks(
        design, _rates(config.teacher), _rates(config.student), images, config.seed, config.seeds
    )
    return {
        "data": config.data,
        "test_images": len(images.test_labels_M),
        "seeds": list(config.seeds),
        "chance": 1 / design.network.classes,
        "accuracy": {name: _summary(values_N) for name, values_N in found.items()},
    }


def _sweep(config: ConfigDict, design: Design, images: Images) -> dict[str, Any]:
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
    return result


def _summary(values_N: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(values_N[:, None], seed=0)
    return {
        "mean": float(np.mean(values_N, dtype=np.float64)),
        "low": low,
        "high": high,
        "values": [float(value) for value in values_N],
    }
