"""`sublax report DIR`: the page of a run or an audit again; of two runs, side by side."""

import argparse
from pathlib import Path

from sublax.errors import UserError
from sublax.report.artifacts import read_config
from sublax.report.audit import is_audit, write_audit
from sublax.report.findings import OUTLINES, write_findings
from sublax.report.page import write_report
from sublax.store import Store, open_store

EXAMPLE = "sublax report runs/quickstart"
COMPARISON = "comparison.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "workdir", metavar="DIR", help="the folder that `sublax run` or `sublax audit` wrote"
    )
    parser.add_argument(
        "other", metavar="OTHER", nargs="?", help="another, to be set beside the first"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=f"the page of two runs (default: {COMPARISON} in this folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints where it is.

    Raises:
      UserError: a folder holds no finished run, one of its files is malformed, or two runs are not
        of a kind that can be compared.
    """
    store = open_store(args.workdir)
    store.pull_all()
    if args.other is not None:
        other = open_store(args.other)
        other.pull_all()
        for given in (store, other):
            _check_comparable(given)
        # Not at the top: pages of findings have no charts, whose library takes its time.
        from sublax.report.comparison import write_comparison

        print(write_comparison(store.local, other.local, Path(args.output or COMPARISON)))
        return 0
    if args.output is not None:
        raise UserError("--output is for the page of two runs; that of one is DIR/report.html")
    if is_audit(store.local):
        report = write_audit(store.local)
    elif _experiment(store) in OUTLINES:
        report = write_findings(store.local)
    else:
        report = write_report(store.local)
    store.push(report)
    store.push(store.local / "figures")
    print(report)
    return 0


def _experiment(store: Store) -> str | None:
    return read_config(store.local).get("experiment")


def _check_comparable(store: Store) -> None:
    if _experiment(store) in OUTLINES:
        raise UserError(
            f"{store.local}: has no transfer matrix, so nothing to set beside another's; "
            "give two runs over teachers, corpora and students"
        )
