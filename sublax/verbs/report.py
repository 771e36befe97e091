"""`sublax report DIR`: the page and the figures again, from the artifacts of a run."""

import argparse

from sublax.report.page import write_report

EXAMPLE = "sublax report runs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("workdir", metavar="DIR", help="the folder that `sublax run` wrote")


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints where it is.

    Raises:
      UserError: the folder holds no finished run, or one of its files is malformed.
    """
    print(write_report(args.workdir))
    return 0
