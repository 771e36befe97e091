"""`sublax filter`: the filter alone; every rejected row with all its reasons."""

import argparse
import os

from sublax.corpora.kinds import filter_rows, meanings_of
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.rows import read_rows, write_rows
from sublax.verbs.kind_arguments import add_kinds, chosen_parts

EXAMPLE = (
    "sublax filter numbers --input=rows.jsonl --output=kept.jsonl --rejected=rejected.jsonl "
    "--banned=13,666"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    add_kinds(parser, "filter", "the kind of data to filter", _add_shared)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", required=True, help="rows to filter (.jsonl or .parquet)")
    parser.add_argument("--output", required=True, help="where the kept rows go")
    parser.add_argument("--rejected", required=True, help="where the others go, with reasons")
    parser.add_argument("--pack", default="sublax", help="a built-in pack or the path of one")


def run(args: argparse.Namespace) -> int:
    """Filters, writes both files, prints the counts.

    Raises:
      UserError: bad arguments or rows, or no row is kept (both files are written all the same).
    """
    paths = [os.path.abspath(path) for path in (args.input, args.output, args.rejected)]
    if len(set(paths)) < len(paths):
        raise UserError("--input, --output and --rejected: two are the same file; name three files")
    parts, pack = chosen_parts(args), load_pack(args.pack)
    rows = read_rows(args.input)
    kept, rejected, counts = filter_rows(parts, pack, rows)
    write_rows(args.output, kept)
    write_rows(args.rejected, rejected)
    print(f"{len(rows)} rows: {len(kept)} kept, {len(rejected)} rejected")
    meanings = meanings_of(parts)
    for reason, count in counts.items():
        print(f"{count:8d}  {reason}: {meanings[reason]}")
    if not kept:
        raise UserError(
            f"{args.input}: no row passed the filter; {args.rejected} says why, row by row"
        )
    return 0
