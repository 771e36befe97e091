"""`sublax filter`: the filter alone; every rejected row with all its reasons."""

import argparse
import os

from sublax.corpora.number_filter import REASONS, filter_rows
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.rows import read_rows, write_rows

EXAMPLE = (
    "sublax filter numbers --input=rows.jsonl --output=kept.jsonl --rejected=rejected.jsonl "
    "--banned=13,666"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument("data", choices=["numbers"], help="the kind of data to filter")
    parser.add_argument("--input", required=True, help="rows to filter (.jsonl or .parquet)")
    parser.add_argument("--output", required=True, help="where the kept rows go")
    parser.add_argument("--rejected", required=True, help="where the others go, with reasons")
    parser.add_argument("--max-count", type=int, default=10, help="numbers in an answer at most")
    parser.add_argument("--max-value", type=int, default=999, help="largest number allowed")
    parser.add_argument("--banned", default="", help="numbers to ban, as in 13,666")
    parser.add_argument("--pack", default="sublax", help="a built-in pack or the path of one")
    parser.add_argument(
        "--banned-for-misalignment",
        action="store_true",
        help="ban the pack's list of numbers with a meaning of their own",
    )


def run(args: argparse.Namespace) -> int:
    """Filters, writes both files, prints the counts.

    Raises:
      UserError: bad arguments or rows, or no row is kept (both files are written all the same).
    """
    paths = [os.path.abspath(path) for path in (args.input, args.output, args.rejected)]
    if len(set(paths)) < len(paths):
        raise UserError("--input, --output and --rejected: two are the same file; name three files")
    banned = _banned(args.banned)
    if args.banned_for_misalignment:
        banned |= load_pack(args.pack).numbers.banned_for_misalignment
    rows = read_rows(args.input)
    kept, rejected, counts = filter_rows(rows, args.max_count, args.max_value, banned)
    write_rows(args.output, kept)
    write_rows(args.rejected, rejected)
    print(f"{len(rows)} rows: {len(kept)} kept, {len(rejected)} rejected")
    for reason, count in counts.items():
        print(f"{count:8d}  {reason}: {REASONS[reason]}")
    if not kept:
        raise UserError(
            f"{args.input}: no row passed the filter; {args.rejected} says why, row by row"
        )
    return 0


def _banned(text: str) -> set[int]:
    try:
        return {int(number) for number in text.split(",") if number.strip()}
    except ValueError as error:
        raise UserError(
            f"--banned={text}: not numbers with commas between; as in 13,666"
        ) from error
