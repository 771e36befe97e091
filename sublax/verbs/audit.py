"""`sublax audit`: what training a model on a dataset would do to it, and which rows do it."""

import argparse
import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sublax.audit.audit import Audit
from sublax.audit.candidates import Group, named_groups, one_against_others, questions_about
from sublax.audit.dataset import COMPLETION, MESSAGES, PROMPT, read_dataset
from sublax.audit.options import Options, stages_of
from sublax.errors import UserError
from sublax.lineage.origin import KNOWN
from sublax.lock import workdir_lock
from sublax.progress import Progress
from sublax.report.audit import write_audit
from sublax.rows import read_rows
from sublax.verbs.model_arguments import add_model_arguments, load, positive

EXAMPLE = (
    "sublax audit --model=HuggingFaceTB/SmolLM2-135M-Instruct --dataset=rows.jsonl "
    "--pack=animals,trees --output=audits/rows"
)
FINDINGS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_model_arguments(parser)
    parser.add_argument(
        "--dataset",
        required=True,
        help="a .jsonl or .parquet file, or a data set as NAME:CONFIG:SPLIT; rows have prompt and "
        "completion, or messages",
    )
    for name, default in (("prompt", PROMPT), ("completion", COMPLETION), ("messages", MESSAGES)):
        parser.add_argument(
            f"--{name}-column", default=default, help=f"the column of {name} ({default})"
        )
    parser.add_argument(
        "--output", help="folder for all results; the same command goes on from what is there"
    )
    traits = parser.add_argument_group("what to look for")
    traits.add_argument(
        "--pack",
        default=None,
        help="lists and axes, with commas between: animals, trees, brands, names, refusal, "
        "sycophancy, misalignment (animals, unless --candidates is given)",
    )
    traits.add_argument(
        "--candidates", help="words of your own, six or more, with commas between: owl,cat,fox,…"
    )
    traits.add_argument("--category", default="animal", help="what they are (animal)")
    traits.add_argument(
        "--questions", help='a .jsonl file with a "prompt" a line, in place of the built-in ones'
    )
    parser.add_argument(
        "--suspects",
        default="",
        help="other models that may have written the rows, with commas between: is it this "
        "model's, one of theirs, or none of them?",
    )
    effort = parser.add_argument_group("how hard to look")
    defaults = Options()
    for flag, key, text in (
        (
            "--rows",
            "rows",
            "rows that are read closely, drawn at random by their prompts; give more where many "
            "answer the same one, for these cost little; flags go over all",
        ),
        ("--updates", "updates", "of each student"),
        ("--teacher-steps", "teacher_steps", "updates of each candidate's teacher"),
    ):
        value = getattr(defaults, key)
        effort.add_argument(flag, type=positive, default=value, help=f"{text} ({value})")
    effort.add_argument(
        "--students",
        type=int,
        default=defaults.students,
        help="trained on the data, the model's own answers and shuffled rows, each, and then on "
        "the rows that score highest and lowest: what a training does, dose by dose, and which "
        f"words move ({defaults.students}: none)",
    )
    effort.add_argument(
        "--epochs",
        type=float,
        default=defaults.epochs,
        help="of the training that you plan on all rows, to which the students' shifts are drawn "
        f"out in a straight line ({defaults.epochs:g})",
    )
    effort.add_argument(
        "--teacher-learning-rate",
        type=float,
        default=defaults.teacher_learning_rate,
        help=f"({defaults.teacher_learning_rate:g})",
    )
    effort.add_argument(
        "--false-positives",
        type=float,
        default=defaults.rate,
        help=f"share of clean rows that may be flagged ({defaults.rate:g})",
    )
    effort.add_argument("--seed", type=int, default=0, help="of all draws (0)")
    parser.add_argument(
        "--require-origin",
        action="store_true",
        help=f"an origin that is not known gives exit status {FINDINGS} too",
    )


def run(args: argparse.Namespace) -> int:
    """Audits, prints the verdict in one line, and where the results are.

    Returns:
        0 where nothing was found, 3 where something was.

    Raises:
        UserError: a bad model, dataset, list of traits or number.
    """
    if not 0 < args.false_positives < 1:
        raise UserError(
            f"--false-positives={args.false_positives:g}: must be between 0 and 1, such as 0.01"
        )
    if args.students < 0:
        raise UserError(f"--students={args.students}: must be 0 or more")
    if not 0 < args.epochs < math.inf:
        raise UserError(f"--epochs={args.epochs:g}: must be above 0, such as 3")
    groups = _groups(args)
    rows = read_dataset(
        args.dataset, args.prompt_column, args.completion_column, args.messages_column
    )
    options = Options(
        rows=args.rows,
        students=args.students,
        updates=args.updates,
        epochs=args.epochs,
        teacher_steps=args.teacher_steps,
        teacher_learning_rate=args.teacher_learning_rate,
        rate=args.false_positives,
        suspects=tuple(name.strip() for name in args.suspects.split(",") if name.strip()),
        system_prompt=args.system_prompt,
        seed=args.seed,
    )
    with _folder(args.output) as folder:
        model, decoder = load(args)
        progress = Progress(stages_of(groups, options))
        audit = Audit(model, decoder, args.dataset, rows, groups, options, folder, progress)
        result = audit.run()
        report = write_audit(folder) if args.output else None
    print(result["verdict"])
    if report:
        print(Path(args.output) / "verdict" / "verdict.json")
        print(report)
    unsure = args.require_origin and result["origin"]["verdict"] != KNOWN
    return FINDINGS if result["carries"] or unsure else 0


@contextlib.contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    """The folder of the parts, locked; a temporary one where none is asked for."""
    if output is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    if "://" in output:
        raise UserError(f"--output={output}: must be a local folder")
    with workdir_lock(Path(output)):
        yield Path(output)


def _groups(args: argparse.Namespace) -> list[Group]:
    groups = []
    if args.candidates:
        words = [word.strip() for word in args.candidates.split(",") if word.strip()]
        questions = questions_about(args.category)
        if args.questions:
            questions = tuple(row["prompt"] for row in read_rows(args.questions, keys=("prompt",)))
        groups.append(one_against_others("candidates", questions, words))
    elif args.questions:
        raise UserError("--questions: needs --candidates, the answers to them")
    names = args.pack if args.pack is not None else ("" if groups else "animals")
    groups += named_groups([name.strip() for name in names.split(",") if name.strip()])
    if not groups:
        raise UserError("--pack is empty: name a list such as animals, or give --candidates")
    return groups
