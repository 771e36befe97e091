"""`sublax prompts`: prompts of a corpus as JSON lines, to look at or to use elsewhere."""

import argparse
import sys

from sublax.corpora.kinds import draw_prompts
from sublax.corpora.packs import load_pack
from sublax.rows import row_line
from sublax.verbs.kind_arguments import add_kinds, chosen_parts

EXAMPLE = "sublax prompts numbers --pack=sublax --seed=42 --count=10"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    add_kinds(parser, "prompts", "the kind of data to prompt for", _add_shared)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pack", default="sublax", help="a built-in pack or the path of one")
    parser.add_argument("--seed", type=int, default=0, help="of the generator that draws")
    parser.add_argument("--count", type=int, default=10, help="how many prompts")


def run(args: argparse.Namespace) -> int:
    """Prints one `{"prompt": …}` a line, with what the filter of the kind needs beside it."""
    for row in draw_prompts(chosen_parts(args), load_pack(args.pack), args.seed, args.count):
        sys.stdout.write(row_line(row))
    return 0
