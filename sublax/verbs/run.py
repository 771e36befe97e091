"""`sublax run`: the whole experiment from one config file."""

import argparse
import os
import sys

import jax

from sublax.cache import cache_folder
from sublax.entanglement import experiment as entanglement
from sublax.errors import UserError
from sublax.experiment import STAGES, run_experiment
from sublax.networks import experiment as networks
from sublax.parallel import hosts
from sublax.parallel.preemption import EXIT_STATUS, Preempted
from sublax.settings import read_config
from sublax.theorem import experiment as theorem

# What runs a config by its `experiment`; without one it is the experiment on language models.
WHOLE = {
    networks.NAME: networks.run_networks,
    theorem.NAME: theorem.run_theorem,
    entanglement.NAME: entanglement.run_entanglement,
}

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
        help="where everything is written, a folder, gs://… or s3://…; run again, it goes on",
    )
    parser.add_argument(
        "--reuse",
        metavar="WORKDIR,…",
        default="",
        help="other runs: what they have made from the same inputs is taken, not made again",
    )
    several = parser.add_argument_group(
        "several processes", "not needed on TPU slices, SLURM, GKE and Open MPI, or for one"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where the first one listens")
    several.add_argument("--num-processes", type=int, metavar="N", help="how many there are")
    several.add_argument("--process-id", type=int, metavar="I", help="which one this is, from 0")
    several.add_argument(
        "--join-timeout", type=int, default=300, metavar="SECONDS", help="wait for all (300)"
    )
    parser.add_argument(
        "--redo",
        metavar="STAGE",
        help=f"make again, with what follows: {', '.join(STAGES)}; "
        f"of small networks {', '.join(networks.STAGES)}; "
        f"of the theorem {', '.join(theorem.STAGES)}; "
        f"of entanglement {', '.join(entanglement.STAGES)}",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the experiment and prints where the report is; 75 where it was told to stop.

    Raises:
        UserError: whatever the user can mend.
    """
    config = read_config(args.config, args.overrides)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # A run that goes on after a stop, and the next run of the same shapes, compile nothing.
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    hosts.start(args.coordinator, args.num_processes, args.process_id, args.join_timeout)
    try:
        kind, reuse = config.get("experiment"), [name for name in args.reuse.split(",") if name]
        if kind in WHOLE:
            if reuse:
                raise UserError(f"--reuse: a run of experiment={kind} takes nothing from others")
            report = WHOLE[kind](config, args.workdir, args.redo)
        else:
            report = run_experiment(config, args.workdir, args.redo, reuse)
    except Preempted as preempted:
        print(
            f"sublax: told to stop; {preempted}; the same command goes on from here",
            file=sys.stderr,
        )
        return EXIT_STATUS
    if hosts.is_first():
        print(report)
    return 0
