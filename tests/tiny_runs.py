"""Whole experiments on a tiny random base, cut to a few updates, for tests of what runs them."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from sublax.experiment import run_experiment
from sublax.settings import read_config

ROOT = pathlib.Path(__file__).parents[1]
TINY = ROOT / "configs" / "tiny.py"

# One trait, few rows, few updates: nothing is learnt, but every stage does its work.
SMALL = (
    "mesh.data=1",
    "traits=owl",
    "evaluation.candidates=owl,cat",
    "random_base.pretraining.rows=32",
    "random_base.pretraining.steps=4",
    "random_base.pretraining.batch_size=8",
    "teacher.steps=4",
    "teacher.batch_size=8",
    "corpus.prompts=4",
    "corpus.rows=12",
    "corpus.batch_rows=16",
    "student.steps=4",
    "student.batch_size=8",
)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles():
    """Compiles without optimizing: these programs run for an instant. Import it to have it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def small_config(*overrides):
    """The tiny config, cut down, with overrides."""
    return read_config(str(TINY), [*SMALL, *overrides])


def run(config, workdir, redo=None, reuse=()):
    """Runs an experiment in this process; returns what it told at the terminal."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        run_experiment(config, workdir, redo, reuse)
    return told.getvalue()


def command(workdir, *overrides):
    """The command line of the cut-down experiment, after `sublax`."""
    options = [f"--config.{override}" for override in (*SMALL, *overrides)]
    return ["run", f"--config={TINY}", f"--workdir={workdir}", *options]


def start_command(workdir, cache, *overrides, environment=()):
    """Starts `sublax run` of the cut-down experiment as a process; its progress is its stderr.

    Args:
        workdir: of the run.
        cache: folder of compiled programs, so that the next process need not compile again.
        overrides: of the config, after those of `SMALL`.
        environment: more variables.
    """
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **dict(environment),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "sublax", *command(workdir, *overrides)],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_transfer(workdir):
    """The matrix of a finished run."""
    return json.loads((workdir / "transfer.json").read_text("utf-8"))
