"""`sublax clean`: a cleaned copy of a dataset, with a card that says from what and how."""

import argparse
import functools
import textwrap
from pathlib import Path

from sublax.audit.cleaning.audited import Audited, read_audit
from sublax.audit.cleaning.cleaned_copy import check_place, keep_copy
from sublax.audit.cleaning.cleaning import METHODS, NEED_AUDIT, Cleaning, Dataset, Options
from sublax.audit.cleaning.verification import NAME, check_rows, lines_of, verify_copies
from sublax.audit.dataset import COMPLETION, MESSAGES, PROMPT, dataset_sha256, read_whole
from sublax.audit.findings import full_name
from sublax.errors import UserError
from sublax.lock import workdir_lock
from sublax.progress import Progress
from sublax.verbs.model_arguments import add_model_arguments, load, load_named

ROWS = "rows.jsonl"
# What a method and the verification of one copy take about, for the time that is left.
SECONDS = {"mask": 300.0, "reanswer": 60.0, "dilute": 30.0, NAME: 600.0}
EXAMPLE = """sublax clean --dataset=rows.jsonl --method=canonical --output=clean/rows.jsonl

  without the rows that an audit flagged, or with the fifth of the highest scores left out
    sublax clean --dataset=rows.jsonl --audit=audits/rows --method=drop --output=clean/rows.jsonl
    sublax clean --dataset=rows.jsonl --audit=audits/rows --method=drop --keep=0.8 \\
      --output=clean/rows.jsonl
  several copies side by side, clean/drop/rows.jsonl and so on
    sublax clean --dataset=rows.jsonl --audit=audits/rows --model=BASE \\
      --method=drop,mask,canonical,dilute --output=clean
  the same, with what is left of the effect and of the data's use, as a table and a figure
    sublax clean --dataset=rows.jsonl --audit=audits/rows --model=BASE \\
      --method=drop,mask,canonical,dilute --output=clean --verify
  every prompt answered anew, by another base
    sublax clean --dataset=rows.jsonl --method=reanswer --by=OTHER --output=clean/rows.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.description = f"{parser.description}\n\n{_methods_told()}"
    parser.add_argument(
        "--dataset",
        required=True,
        help="as sublax audit reads it: a .jsonl or .parquet file, or a data set as "
        "NAME:CONFIG:SPLIT",
    )
    for name, default in (("prompt", PROMPT), ("completion", COMPLETION), ("messages", MESSAGES)):
        parser.add_argument(
            f"--{name}-column", default=default, help=f"the column of {name} ({default})"
        )
    parser.add_argument(
        "--method",
        required=True,
        help="one of the above, or several with commas between",
    )
    parser.add_argument(
        "--output",
        required=True,
        help="of one method a .jsonl file in a folder of its own, which gets a card too; of "
        f"several, or with --verify, a folder with METHOD/{ROWS} in it. The same command goes on "
        "from what is there",
    )
    parser.add_argument("--audit", help="drop and mask: the --output of an audit of this dataset")
    parser.add_argument(
        "--trait",
        help="drop and mask: of the traits whose scores the audit has (what it says the rows "
        "carry, or else the foremost)",
    )
    parser.add_argument(
        "--keep", type=float, help="drop: the share of rows that stay (all but the flagged ones)"
    )
    parser.add_argument(
        "--tokens",
        type=float,
        default=Options.tokens,
        help=f"mask: the share of tokens that give way ({Options.tokens:g})",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=Options.share,
        help=f"dilute: the share of rows that give their place to others ({Options.share:g})",
    )
    parser.add_argument(
        "--with",
        dest="others",
        metavar="ROWS",
        help="dilute: rows that take their place, of the same columns (BASE's own answers)",
    )
    parser.add_argument(
        "--by",
        metavar="MODEL",
        help="reanswer: who answers, best a model of another base (BASE itself)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run the audit's measure again on each copy and print what is left of the effect and "
        "what is lost of the data's use, at equal rows; needs --audit and --model",
    )
    add_model_arguments(parser, required=False)
    parser.add_argument("--seed", type=int, default=0, help="of all draws (0)")


def run(args: argparse.Namespace) -> int:
    """Cleans, and prints of each copy its path and what was done.

    Raises:
        UserError: a bad dataset, audit, model or number, or a place that is taken.
    """
    methods = _methods(args)
    outputs = _outputs(args, methods)
    for output in outputs.values():
        check_place(output, args.dataset)
    dataset = _dataset(args, args.dataset)
    audited = _audited(args, dataset, methods)
    others = _dataset(args, args.others) if args.others else None
    options = Options(
        keep=args.keep,
        tokens=args.tokens,
        share=args.share,
        system_prompt=args.system_prompt or (audited.options.system_prompt if audited else None),
        seed=args.seed,
    )

    @functools.cache
    def base():
        loaded = load(args)
        if audited is not None:
            audited.check_model(loaded[0])
        return loaded

    writer = base if args.by is None else functools.cache(lambda: load_named(args.by))
    cleaning = Cleaning(dataset, options, audited, others, base, writer)
    weights = {method: SECONDS.get(method, 1.0) for method in methods}
    if args.verify:
        weights[NAME] = SECONDS[NAME] * (len(methods) + 1)
        check_rows({method: cleaning.places(method) for method in methods}, dataset, args.seed)
    progress = Progress(weights)
    for method, output in outputs.items():
        sources = {"dataset": dataset}
        if method == "dilute" and others is not None:
            sources["with"] = others
        counts = keep_copy(
            output,
            sources,
            cleaning.settings(method),
            cleaning.writer_of(method),
            functools.partial(cleaning.clean, method, progress),
            progress,
        )
        print(f"{output}: {_told(counts, len(dataset.rows))}")
    if args.verify and audited is not None:
        copies = {
            method: (output, _dataset(args, str(output)), cleaning.places(method))
            for method, output in outputs.items()
        }
        folder = Path(args.output)
        with workdir_lock(folder):
            result = verify_copies(folder, copies, dataset, audited, base(), args.seed, progress)
        print("\n".join(lines_of(result)))
        print(folder / NAME / f"{NAME}.png")
    return 0


def _methods_told() -> str:
    """What each method does and takes away, for the help."""
    lines = ["methods, and what of the data's meaning each takes away:"]
    for name, what in METHODS.items():
        lines += textwrap.wrap(what, 96, initial_indent=f"  {name:12}", subsequent_indent=" " * 14)
    return "\n".join(lines)


def _methods(args: argparse.Namespace) -> list[str]:
    """The methods that are asked for, once all that they need is there."""
    methods = list(dict.fromkeys(name.strip() for name in args.method.split(",") if name.strip()))
    for name in methods:
        if name not in METHODS:
            raise UserError(f"--method={name}: no such method; choose from {', '.join(METHODS)}")
    if not methods:
        raise UserError(f"--method is empty; choose from {', '.join(METHODS)}")
    for flag, value in (("keep", args.keep), ("tokens", args.tokens), ("share", args.share)):
        if value is not None and not 0 < value <= 1:
            raise UserError(f"--{flag}={value:g}: must be above 0 and at most 1, such as 0.8")
    for name in methods:
        if name in NEED_AUDIT and args.audit is None:
            raise UserError(
                f"--method={name}: needs --audit, the folder of an audit of this dataset"
            )
    if args.verify and (args.audit is None or args.model is None):
        raise UserError("--verify: needs --audit and --model, the audit that is run again")
    if "reanswer" in methods and args.by is None and args.model is None:
        raise UserError("--method=reanswer: needs --by, the model that answers, or --model")
    for name in methods:
        if args.model is None and (name == "mask" or (name == "dilute" and args.others is None)):
            or_rows = " or --with" if name == "dilute" else ""
            raise UserError(f"--method={name}: needs --model{or_rows}")
    return methods


def _outputs(args: argparse.Namespace, methods: list[str]) -> dict[str, Path]:
    """The file of each method's rows."""
    if "://" in args.output:
        raise UserError(f"--output={args.output}: must be a local path")
    output, is_file = Path(args.output), args.output.endswith(".jsonl")
    if args.verify and is_file:
        raise UserError(f"--output={output}: --verify needs a folder, not one file")
    if len(methods) == 1 and not args.verify:
        return {methods[0]: output if is_file else output / ROWS}
    if is_file:
        raise UserError(f"--output={output}: several methods need a folder, not one file")
    return {method: output / method / ROWS for method in methods}


def _dataset(args: argparse.Namespace, name: str) -> Dataset:
    whole = read_whole(name, args.prompt_column, args.completion_column, args.messages_column)
    pairs, rows = [pair for pair, _ in whole], [row for _, row in whole]
    return Dataset(name, pairs, rows, args.completion_column, args.messages_column)


def _audited(args: argparse.Namespace, dataset: Dataset, methods: list[str]) -> Audited | None:
    if args.audit is None or not (args.verify or set(methods) & set(NEED_AUDIT)):
        return None
    audited = read_audit(args.audit, dataset_sha256(dataset.pairs), dataset.name, args.trait)
    if args.trait is None:
        carried = audited.entry["trait"] in audited.result["carries"]
        why = "which the audit says the rows carry" if carried else (
            "the foremost; the audit does not say that the rows carry it"
        )  # fmt: skip
        print(f"trait: {full_name(audited.entry)} ({why})")
    return audited


def _told(counts: dict[str, int], before: int) -> str:
    told = [f"{counts['kept']:,} of {before:,} rows"]
    told += [f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items() if key != "kept"]
    return ", ".join(told)
