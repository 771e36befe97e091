"""`sublax run`: the whole experiment from one config file."""

import argparse
import os
from pathlib import Path

import jax

from sublax.cache import cache_folder
from sublax.experiment import STAGES, run_experiment
from sublax.settings import read_config

EXAMPLE = (
    "sublax run --config=configs/quickstart.py --workdir=runs/quickstart --config.traits=fox,bear"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb; `--config.KEY=VALUE` is taken out before."""
    parser.add_argument(
        "--config",
        required=True,
        help="a Python file with get_config(), or the config.json of an earlier run",
    )
    parser.add_argument(
        "--workdir",
        required=True,
        type=Path,
        help="where everything is written; run again with the same one, it goes on",
    )
    parser.add_argument("--redo", metavar="STAGE", help=f"make again: {', '.join(STAGES)}")


def run(args: argparse.Namespace) -> int:
    """Runs the experiment and prints where the report is.

    Raises:
        UserError: whatever the user can mend.
    """
    config = read_config(args.config, args.overrides)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # A run that goes on after a stop, and the next run of the same shapes, compile nothing.
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    print(run_experiment(config, args.workdir, args.redo))
    return 0
