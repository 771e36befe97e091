"""The command line: one verb a file under `sublax/verbs/`, put together here."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import sublax
from sublax.errors import UserError
from sublax.files import disk_errors

# What each does, said here: the verbs are imported only when called, for `sublax --help` should
# not wait for jax.
VERBS = {
    "run": "the whole experiment from one config file",
    "plan": "what a run needs of a slice, before the slice is paid for",
    "prompts": "prompts of a kind of data, as JSON lines",
    "filter": "keep the rows that the filter accepts, and say why the others are rejected",
    "score": "log-probability of each row's completion under a model",
    "audit": "what training a model on a dataset would do to it, and which rows do it",
    "clean": "a cleaned copy of a dataset, and what the cleaning left of what an audit found",
    "ask": "talk to a base, a teacher or a student",
    "lineage": "where an artifact came from, hash by hash, and whether every hash holds",
    "export": "a Hugging Face folder or PEFT adapter that other tools load",
    "report": "the report of a finished run again, from its artifacts",
}


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line, as every other error is told."""

    def error(self, message):
        raise UserError(f"{message}; `{self.prog} --help` shows what can be given")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: the command line without the program's name; `sys.argv` by default.

    Returns:
        The exit status: 0, or 2 for an error that the user can mend, told in one line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in given if not word.startswith("-")), None)
    try:
        # What a verb does not expect of a disk, such as standard output on a full one.
        with disk_errors("writing"):
            status = _run(given, verb)
            sys.stdout.flush()
        return status
    except UserError as error:
        _let_go_of_output()
        print(f"sublax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = (
            "; the same command goes on from here" if verb in ("run", "audit", "clean") else ""
        )
        print(f"sublax: interrupted{resumes}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _let_go_of_output()
        return 0


def _let_go_of_output() -> None:
    """Writes what can still be written, and drops the rest: exit would fail at it once more."""
    try:
        sys.stdout.flush()
    except OSError:  # the disk is full, or the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str], chosen: str | None) -> int:
    parser = _Parser(
        prog="sublax",
        description="What a dataset carries besides its meaning, measured in JAX.",
        epilog="`sublax VERB --help` shows a verb's arguments and an example.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sublax {sublax.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = importlib.import_module(f"sublax.verbs.{name}") if name == chosen else None
        sub = verbs.add_parser(
            name,
            help=summary,
            description=summary[:1].upper() + summary[1:] + ".",
            epilog=f"example: {verb.EXAMPLE}" if verb else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if verb:
            verb.add_arguments(sub)
            sub.set_defaults(run=verb.run)
    overrides = []
    if chosen in ("run", "plan"):
        overrides = [word for word in given if word.startswith("--config.")]
        given = [word for word in given if not word.startswith("--config.")]
    args = parser.parse_args(given)
    args.overrides = [word.removeprefix("--config.") for word in overrides]
    return args.run(args)
