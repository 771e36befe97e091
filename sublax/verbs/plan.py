"""`sublax plan`: what a run needs of a slice, before the slice is paid for."""

import argparse
import json
import pathlib
import sys

import jax

from sublax.errors import UserError
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.planning.plan import make_plan, misfits, table
from sublax.planning.program import Lengths
from sublax.planning.programs import Planner
from sublax.planning.shapes import base_shape
from sublax.planning.topology import is_gpu, larger, machine_of
from sublax.settings import read_config
from sublax.verbs.model_arguments import positive

EXAMPLE = (
    "sublax plan --config=configs/numbers_qwen2_5_7b.py --topology=v5e:4x4 --config.mesh.fsdp=-1 "
    "--config.mesh.data=1"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb; `--config.KEY=VALUE` is taken out before."""
    parser.add_argument(
        "--config", required=True, help="a Python file with get_config(), or a run's config.json"
    )
    parser.add_argument(
        "--topology",
        required=True,
        help="a slice, such as v5e:4x4, v6e:2x4, v5p:2x2x2 or v4:2x2x4; several that `data` lies "
        "across: 2xv5e:4x4; virtual devices: cpu:8; on a machine that has them, h100:8",
    )
    parser.add_argument(
        "--students",
        type=positive,
        help="trained at a time; the config's by default, or as many as fit where that is 0",
    )
    default = Lengths()
    parser.add_argument(
        "--prompt-tokens", type=positive, default=default.prompt, help="of a corpus' prompt (128)"
    )
    parser.add_argument(
        "--question-tokens", type=positive, default=default.question, help="of a question (48)"
    )
    parser.add_argument(
        "--keep",
        type=pathlib.Path,
        help="a folder for compiled programs: what lies there is not compiled again",
    )
    parser.add_argument("--json", action="store_true", help="everything, for other programs")
    parser.add_argument(
        "--search", action="store_true", help="where it does not fit, find the smallest that does"
    )


def run(args: argparse.Namespace) -> int:
    """Compiles the run's programs and prints what each needs; 1 where one does not fit.

    Raises:
        UserError: no such topology, no libtpu, or a config that the mesh does not divide.
    """
    # Nothing runs, and jax must not look for chips of its own.
    if not is_gpu(args.topology):
        jax.config.update("jax_platforms", "cpu")
    config = read_config(args.config, args.overrides)
    shape = base_shape(config)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def plan_for(topology: str):
        machine = machine_of(topology)
        mesh = make_mesh(config.mesh, machine.devices, machine.slices)
        layout = Layout(mesh, tuple(sorted(config.sharding.items())))
        lengths = Lengths(args.prompt_tokens, args.question_tokens)
        planner = Planner(config, shape, layout, machine.chip, lengths, args.students)
        return make_plan(planner.programs, layout, machine, topology, tell, args.keep)

    plan = plan_for(args.topology)
    wrong = misfits(plan)
    tried, found = larger(args.topology) if args.search and wrong else [], None
    for topology in tried:
        try:
            found = plan_for(topology)
        except UserError as error:  # sizes that the larger mesh does not divide
            tell(f"{topology}: {error}")
            continue
        if found["fits"]:
            break
    if args.json:
        fits = found and found["fits"]
        print(json.dumps(plan | {"smallest_that_fits": found if fits else None}, indent=1))
        return 1 if wrong else 0
    print(table(plan))
    for line in wrong:
        print(line)
    if found and found["fits"]:
        print(f"\nThe smallest that fits:\n\n{table(found)}")
    elif tried:
        print(f"None of {', '.join(tried)} fits either.")
    return 1 if wrong else 0
