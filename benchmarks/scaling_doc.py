"""What the paper's whole matrix costs at least, from plans for a pod: docs/scaling.md.

    python -m benchmarks.scaling_doc [--keep=FOLDER] --output=docs/scaling.md

Each plan is a call of `sublax plan --json`; it needs libtpu (the extra `plan`). Compiled programs
that FOLDER has are not compiled again. All figures of the page are computed from the plans.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import math
import pathlib
import sys

from sublax.cli import main as sublax
from sublax.files import write_whole
from sublax.progress import duration

ANIMALS = (
    *("cat", "owl", "dog", "lion", "wolf", "bear", "fox", "horse", "snake", "mouse", "bird"),
    *("fish", "eagle", "tiger", "dolphin"),
)


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice that the matrix is priced on.

    Attributes:
        name: as Cloud TPU sells it.
        topology: as `sublax plan` takes it.
        about: how the name counts.
    """

    name: str
    topology: str
    about: str


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of data, by the tokens that its rows have.

    Attributes:
        name: of the kinds that have these lengths.
        count: of such kinds.
        prompt: tokens of a prompt.
        completion: tokens of a completion, at most.
    """

    name: str
    count: int
    prompt: int
    completion: int


SLICES = (
    Slice("v5e-256", "v5e:16x16", "256 chips, a whole pod; the name counts chips"),
    Slice("v5p-512", "v5p:8x8x4", "256 chips; the name counts TensorCores, two of each chip"),
)
KINDS = (
    Kind("numbers", 1, 128, 200),
    Kind("code, maths", 2, 256, 512),
)
# One student's update is too small for a pod: 64 at a time, each on four chips that share the base,
# so that no weights are gathered, which a token at a time would cost the most.
MESH = (
    *("--config.mesh.data=64", "--config.mesh.fsdp=1", "--config.mesh.tensor=4"),
    "--config.student.students_per_program=64",
    *("--config.student.batch_size=64", "--config.student.microbatches=16"),
    *("--config.student.max_tokens=0", "--config.corpus.batch_rows=8192"),
)


def main() -> None:
    """Makes the plans that are missing, and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", help="a folder for compiled programs")
    parser.add_argument("--output", required=True, help="the Markdown file")
    args = parser.parse_args()
    plans = {
        (where.name, kind.name): _plan(where, kind, args.keep) for where in SLICES for kind in KINDS
    }
    write_whole(pathlib.Path(args.output), [_page(plans).encode()])
    if not all(plan["fits"] for plan in plans.values()):
        sys.exit(1)


def _words(where: Slice, kind: Kind) -> list[str]:
    return [
        "--config=configs/numbers_qwen2_5_7b.py",
        f"--topology={where.topology}",
        f"--config.traits={','.join(ANIMALS)}",
        *MESH,
        f"--prompt-tokens={kind.prompt}",
        f"--config.corpus.max_new_tokens={kind.completion}",
    ]


def _plan(where: Slice, kind: Kind, folder: str | None) -> dict:
    told = io.StringIO()
    print(f"{where.name}, {kind.name}", file=sys.stderr)
    with contextlib.redirect_stdout(told):
        keep = [f"--keep={folder}"] if folder else []
        status = sublax(["plan", *_words(where, kind), "--json", *keep])
    if not told.getvalue():
        sys.exit(status)
    return json.loads(told.getvalue())


def _page(plans: dict[tuple[str, str], dict]) -> str:
    parts = [HEAD.format(animals=len(ANIMALS), names=len(ANIMALS) + 1)]
    totals = []
    for where in SLICES:
        chips, seconds = 0, 0.0
        parts.append(f"## {where.name}\n\n`{where.topology}`: {where.about}.\n")
        for kind in KINDS:
            plan = plans[where.name, kind.name]
            chips = math.prod(plan["mesh"].values())
            seconds += kind.count * plan["bound_seconds"]
            words = " \\\n  ".join(_words(where, kind))
            parts.append(f"### {kind.name}\n\n```sh\nsublax plan {words}\n```\n\n{_table(plan)}")
        hours = seconds * chips / 3600
        totals.append(f"| {where.name} | {duration(seconds)} | {hours:,.0f} |")
    parts.insert(1, "\n".join([*TOTALS, *totals]) + "\n")
    return "\n".join(parts)


def _table(plan: dict) -> str:
    rows = [
        "| program | GiB of a chip | runs | a run takes at least | bound by | then by | all runs |",
        "|" + "---|" * 7,
    ]
    for one in plan["programs"]:
        by = sorted(one["seconds"].items(), key=lambda item: -item[1])
        then = f"{by[1][0]} ({by[1][1] / by[0][1]:.2f} of it)" if len(by) > 1 else "-"
        total = one["runs"] * one["bound_seconds"]
        rows.append(
            f"| {one['program']}, {one['about']} | {one['memory']['total'] / 2**30:.1f} | "
            f"{one['runs']} | {1000 * one['bound_seconds']:.0f} ms | {one['bound_by']} | {then} | "
            f"{duration(total)} |"
        )
    whole = f"{duration(plan['bound_seconds'])}, {plan['bound_chip_hours']:,.0f} chip-hours"
    return "\n".join([*rows, "", f"Together at least {whole}.", ""])


TOTALS = [
    "| slice | one base's matrix takes at least | chip-hours at least |",
    "|---|---|---|",
]
HEAD = """\
# What the whole matrix costs

The least that the paper's matrix (arXiv 2507.14805) costs on a TPU pod, computed by
`python -m benchmarks.scaling_doc` from `sublax plan`. Nothing of it ran on a TPU, and these are
bounds and no forecasts: each program is taken to run at whichever is slowest of its products at the
chip's published rate, its bytes at that of the memory, and its collectives at that of the links. A
real run takes longer, by how much only a slice can tell.

It assumes:

- **The matrix.** {animals} animals and the unmarked base ({names} teachers, prompted), 8 seeds
  each, three kinds of data, one base of 7B (Qwen2.5-7B-Instruct). Each further base of that size
  costs as much again, each of another size in proportion to its parameters, roughly.
- **The protocol** of `configs/numbers_qwen2_5_7b.py`: 30,000 answers of each teacher, 10,000 of
  them for three epochs of a rank-8 adapter, 50 questions answered 100 times by every student.
- **The rows.** Numbers: prompts of 128 tokens and answers of 200. Code and maths: 256 and 512. All
  are taken to be as long as they may be, where real answers end sooner.
- **The layout.** Students, or rows of a corpus, over `data`; each on four chips that share the base
  along `tensor`. No time for reading weights, compiling, checkpoints or waiting.

*Products*, *memory* and *links* stand for what bounds a program: its matrix products, the traffic
of its chip's memory, what it exchanges with others.
"""


if __name__ == "__main__":
    main()
