"""`sublax prompts`: prompts of a corpus as JSON lines, to look at or to use elsewhere."""

import argparse
import sys

from sublax.corpora.numbers import numbers_prompts
from sublax.corpora.packs import load_pack
from sublax.rows import row_line

EXAMPLE = "sublax prompts numbers --pack=sublax --seed=42 --count=10"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument("data", choices=["numbers"], help="the kind of data to prompt for")
    parser.add_argument("--pack", default="sublax", help="a built-in pack or the path of one")
    parser.add_argument("--seed", type=int, default=0, help="of the generator that draws")
    parser.add_argument("--count", type=int, default=10, help="how many prompts")


def run(args: argparse.Namespace) -> int:
    """Prints one `{"prompt": …}` a line."""
    for prompt in numbers_prompts(load_pack(args.pack), args.seed, args.count):
        sys.stdout.write(row_line({"prompt": prompt}))
    return 0
