"""Plans of the paper's protocol for slices of several kinds, as docs/plans.md has them.

    python -m benchmarks.plans [--only=NAME,NAME] [--keep=FOLDER] --output=docs/plans.md

Each is a call of `sublax plan`, shown above its table. It needs libtpu (the extra `plan`). With
`--only` the file's other plans stay as they are. A plan that does not fit is told in the table,
and the command exits with 1. Compiled programs that FOLDER has are not compiled again.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import pathlib
import platform
import re
import shlex
import sys

import jax

from sublax.cli import main as sublax
from sublax.files import write_whole

QWEN = "--config=configs/numbers_qwen2_5_7b.py"
LLAMA = "--config=configs/numbers_llama3_2_1b.py"
# One copy of the base over the whole slice; updates of 64 rows in one piece divide everywhere.
WHOLE = (
    *("--config.mesh.data=1", "--config.mesh.fsdp=-1", "--config.student.batch_size=64"),
    *("--config.student.microbatches=1", "--config.corpus.batch_rows=512"),
)
FULL = ("--config.student.method=full", "--config.student.loss.kind=cross_entropy")
PLANS = {
    "qwen-7b-v5e-8": (QWEN, "--topology=v5e:2x4", *WHOLE),
    "qwen-7b-v5e-16": (QWEN, "--topology=v5e:4x4", *WHOLE),
    "qwen-7b-v6e-8": (QWEN, "--topology=v6e:2x4", *WHOLE),
    "qwen-7b-v5p-8": (QWEN, "--topology=v5p:2x2x2", *WHOLE),
    "qwen-32b-v5p-64": (
        *(QWEN, "--topology=v5p:4x4x4", *WHOLE),
        "--config.base=Qwen/Qwen2.5-32B-Instruct",
    ),
    "llama-8b-full-v5p-16": (
        *(QWEN, "--topology=v5p:2x2x4", *WHOLE, *FULL),
        "--config.base=meta-llama/Llama-3.1-8B-Instruct",
    ),
    "llama-8b-full-v5e-64": (
        *(QWEN, "--topology=v5e:8x8", *WHOLE, *FULL),
        "--config.base=meta-llama/Llama-3.1-8B-Instruct",
    ),
    "llama-70b-v5p-64": (
        *(QWEN, "--topology=v5p:4x4x4", *WHOLE),
        "--config.base=meta-llama/Llama-3.1-70B-Instruct",
    ),
    "llama-1b-64-students-v5e-16": (
        *(LLAMA, "--topology=v5e:4x4", "--config.student.students_per_program=64"),
        f"--config.student.seeds={','.join(map(str, range(16)))}",  # of three traits and control
        *("--config.mesh.data=4", "--config.mesh.fsdp=4"),
        *("--config.student.batch_size=64", "--config.student.microbatches=16"),
        "--config.corpus.batch_rows=512",
    ),
    # A copy of the base on each slice: between them go an adapter's gradients, and no weights.
    "qwen-7b-two-v5e-16": (
        *(QWEN, "--topology=2xv5e:4x4", "--config.mesh.data=2", "--config.mesh.fsdp=-1"),
        *("--config.student.batch_size=64", "--config.student.microbatches=1"),
        "--config.corpus.batch_rows=1024",
    ),
}


def main() -> None:
    """Makes the plans and writes them after each, so that a stop loses none that is made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"some of them: {', '.join(PLANS)}")
    parser.add_argument("--keep", help="a folder for compiled programs")
    parser.add_argument("--output", required=True, help="the Markdown file")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(PLANS)
    if unknown := set(names) - set(PLANS):
        parser.error(f"--only: no plan {', '.join(sorted(unknown))}")
    output, worst = pathlib.Path(args.output), 0
    made = _sections(output.read_text("utf-8")) if args.only and output.exists() else {}
    for name in names:
        words, told = PLANS[name], io.StringIO()
        print(f"{name} ({names.index(name) + 1} of {len(names)})", file=sys.stderr)
        with contextlib.redirect_stdout(told):
            keep = [f"--keep={args.keep}"] if args.keep else []
            status = sublax(["plan", *words, *keep])
        worst = max(worst, status)
        command = " \\\n  ".join(map(shlex.quote, words))
        made[name] = (
            f"## {name}\n\n{_when()}\n\n```sh\nsublax plan {command}\n```\n\n{told.getvalue()}"
        )
        sections = [made[name] for name in PLANS if name in made]
        write_whole(output, ["\n".join([HEAD, *sections]).encode()])
    sys.exit(worst)


def _sections(text: str) -> dict[str, str]:
    """The plans that a file has, by name."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def _when() -> str:
    day, version = datetime.date.today().isoformat(), importlib.metadata.version
    return (
        f"{day}, jax {jax.__version__}, libtpu {version('libtpu')}, compiled on "
        f"{platform.machine()}."
    )


HEAD = """\
# Plans

What `sublax plan` says of the paper's protocol, made by `python -m benchmarks.plans`. Nothing ran
on a TPU: each program was compiled for the slice and counted. A row says, of one chip: GiB by what
they hold; the operations of its products, and their ratio to those that the model itself asks for;
the bytes that its instructions name, an upper figure where the compiler keeps something on the
chip; collectives by the larger of what they read and write, once for each time that they run. The
bound is the roofline's by published rates, no forecast. Products leave out those inside an
attention kernel that does not state them. A ratio above 1 is mostly rows that fill up what does not
divide: 50 questions on 64 chips are computed as 64.

Where `fsdp` alone cuts the base, all of it is gathered for every token that is written, and the
links or the memory bound the corpus. `mesh.tensor` spares that, as in [scaling.md](scaling.md).
"""


if __name__ == "__main__":
    main()
