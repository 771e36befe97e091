"""`sublax report DIR`: the page and the figures again, from the artifacts of a run."""

import argparse

from sublax.report.artifacts import read_config
from sublax.report.findings import OUTLINES, write_findings
from sublax.report.page import write_report
from sublax.store import open_store

EXAMPLE = "sublax report runs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("workdir", metavar="DIR", help="the folder that `sublax run` wrote")


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints where it is.

    Raises:
      UserError: the folder holds no finished run, or one of its files is malformed.
    """
    store = open_store(args.workdir)
    store.pull_all()
    experiment = read_config(store.local).get("experiment")
    write = write_findings if experiment in OUTLINES else write_report
    report = write(store.local)
    store.push(report)
    store.push(store.local / "figures")
    print(report)
    return 0
