"""Theorem 1 as an experiment: its config checked, its three stages."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sublax.config_keys import check_keys
from sublax.errors import UserError
from sublax.evaluation.sign_test import sign_test
from sublax.evaluation.statistics import bootstrap_interval
from sublax.evaluation.theorem import LOSSES
from sublax.settings import plain
from sublax.short_run import Stage, check_redo, run_stages
from sublax.theorem.lean import find_lean
from sublax.theorem.steps import OPTIMIZERS, many_steps, one_steps
from sublax.theorem.subjects import NAMES, RANDOM, load_subject

NAME = "theorem"  # as `config.experiment` says it
STAGES = ("one_step", "many_steps", "lean")
SECTIONS = {
    "": "experiment seed subjects loss",
    "mlp": "data widths auxiliary images noise step",
    "decoder": "base traits rows tokens step",
    "one_step": "seeds",
    "many_steps": "seeds counts",
    "many_steps.mlp": "sgd adam",
    "many_steps.decoder": "sgd adam",
    "lean": "seeds widths",
}
FREE = ("decoder.shape",)


def run_theorem(config: ConfigDict, workdir: os.PathLike | str, redo: str | None = None) -> Path:
    """Runs what is left of the experiment, prints what was found and writes the page.

    `one_step/`, `many_steps/` and `lean/` each hold one JSON of that name with every seed's values.

    Args:
        config: the experiment, locked, as of `configs/theorem.py`.
        workdir: made if absent, a folder or one of an object store.
        redo: a stage to make again.

    Returns:
        The path of the page.

    Raises:
        UserError: whatever the user can mend.
    """
    check_keys(config, SECTIONS, FREE, example="configs/theorem.py")
    check_redo(redo, STAGES)
    _check(config)
    everything = plain(config)
    common = {name: everything[name] for name in ("experiment", "seed", *NAMES)}
    subjects = common | {name: everything[name] for name in ("subjects", "loss")}
    stages = [
        Stage(
            "one_step", lambda: _one_step(config), subjects | {"one_step": everything["one_step"]}
        ),
        Stage(
            "many_steps",
            lambda: _many_steps(config),
            subjects | {"many_steps": everything["many_steps"]},
            weight=10.0,
        ),
        Stage("lean", lambda: find_lean(config), common | {"lean": everything["lean"]}, weight=2.0),
    ]
    left_out = {name for name in STAGES if not config[name].seeds}
    return run_stages(config, workdir, [s for s in stages if s.name not in left_out], redo)


def _check(config: ConfigDict) -> None:
    """Refuses values that no stage can use, before anything is computed."""
    if config.loss not in LOSSES:
        raise UserError(f"loss={config.loss}: choose one of {', '.join(LOSSES)}")
    for name in config.subjects:
        if name not in NAMES:
            raise UserError(f"subjects={name}: no such model; choose from {', '.join(NAMES)}")
    for name in ("one_step", "lean"):
        if config[name].seeds == 1:
            raise UserError(f"{name}.seeds=1: signs are counted over several; give 2 or more, or 0")
    if not config.subjects or not config.one_step.seeds:
        raise UserError("one_step.seeds=0: it is what the experiment is about; give 2 or more")
    if config.lean.seeds and len(config.lean.widths) < 2:
        raise UserError(f"lean.widths={tuple(config.lean.widths)}: give two hidden layers or more")
    counts = config.many_steps.counts
    if config.many_steps.seeds and (not counts or counts[0] < 1 or sorted({*counts}) != [*counts]):
        raise UserError(f"many_steps.counts={counts}: give whole numbers from 1 on, increasing")
    if config.many_steps.seeds and "decoder" in config.subjects and config.decoder.base != RANDOM:
        raise UserError(
            f"many_steps.seeds={config.many_steps.seeds}: decoder.base={config.decoder.base} has "
            "no other start to compare with; set it to 0, or decoder.base=random"
        )


def _one_step(config: ConfigDict) -> dict[str, Any]:
    """For each subject and start, every seed's step and what the signs say."""
    found = []
    for name in config.subjects:
        subject = load_subject(name, config)
        steps = one_steps(subject, config.loss, range(config.one_step.seeds))
        starts = {
            start: {
                "inner": sign_test(np.asarray(steps[start].inner)),
                "rises": sign_test(np.asarray(steps[start].measured)),
                "seeds": _values(steps[start]._asdict()),
            }
            for start in subject.starts
        }
        found.append({"subject": name, "words": subject.words, "starts": starts})
    return {"loss": config.loss, "seeds": config.one_step.seeds, "subjects": found}


def _many_steps(config: ConfigDict) -> dict[str, Any]:
    """For each subject, optimizer and start, means over seeds at each number of steps."""
    section, found = config.many_steps, []
    for name in config.subjects:
        subject = load_subject(name, config)
        for optimizer in OPTIMIZERS:
            rate = section[name][optimizer]
            if not rate:
                continue
            courses = many_steps(
                subject, config.loss, optimizer, rate, section.counts, range(section.seeds)
            )
            starts = {
                start: {
                    "positive": [sign_test(values_N) for values_N in course.cosine.T],
                    **{field: _means(values) for field, values in course._asdict().items()},
                }
                for start, course in courses.items()
            }
            found.append(
                {
                    "subject": name,
                    "words": subject.words,
                    "optimizer": optimizer,
                    "learning_rate": rate,
                    "starts": starts,
                }
            )
    counts, seeds = list(section.counts), section.seeds
    return {"loss": config.loss, "seeds": seeds, "counts": counts, "courses": found}


def _means(values_NxC: np.ndarray) -> list[dict[str, float]]:
    """Mean over seeds at each count, with its 95 % interval."""
    means = []
    for values_N in values_NxC.T:
        low, high = bootstrap_interval(values_N[:, None], seed=0)
        means.append({"mean": float(values_N.mean(dtype=np.float64)), "low": low, "high": high})
    return means


def _values(arrays: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: [float(value) for value in values_N] for name, values_N in arrays.items()}
