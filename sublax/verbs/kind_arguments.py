"""Arguments of the verbs that take a kind of data, from what each kind says can be set."""

import argparse
import dataclasses
from collections.abc import Callable

from sublax.corpora.kinds import KINDS, Part, parts_of
from sublax.errors import UserError


def add_kinds(
    parser: argparse.ArgumentParser,
    verb: str,
    summary: str,
    add_shared: Callable[[argparse.ArgumentParser], None],
) -> None:
    """One subcommand for each kind, with the arguments that all have and those of its own.

    Args:
      parser: of the verb.
      verb: its name; only options of this verb are added.
      summary: what it does with a kind's rows, as "prompt for".
      add_shared: adds the arguments that do not depend on the kind.
    """
    kinds = parser.add_subparsers(
        dest="data", metavar="KIND", required=True, help=f"{summary}: {', '.join(KINDS)}"
    )
    for name, kind in KINDS.items():
        own = kinds.add_parser(name, allow_abbrev=False)
        add_shared(own)
        for field in dataclasses.fields(kind.options):
            if field.metadata["verb"] != verb:
                continue
            flag, text = "--" + field.name.replace("_", "-"), field.metadata["help"]
            if isinstance(field.default, bool):
                own.add_argument(flag, action="store_true", help=text)
            elif isinstance(field.default, int):
                own.add_argument(flag, type=int, default=field.default, help=text)
            else:  # text, or a tuple that is read later
                own.add_argument(flag, default=None, help=text)


def chosen_parts(args: argparse.Namespace) -> tuple[Part, ...]:
    """The kind that the arguments name, with its options.

    Raises:
      UserError: what should be a list of numbers is none.
    """
    settings = {}
    for field in dataclasses.fields(KINDS[args.data].options):
        value = getattr(args, field.name, None)
        if value is None:
            continue
        if isinstance(field.default, tuple):
            value = _items(field, value)
        settings[field.name] = value
    return parts_of(args.data, settings)


def _items(field: dataclasses.Field, text: str) -> tuple:
    item = field.metadata["item"]
    try:
        return tuple(item(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        flag = field.name.replace("_", "-")
        raise UserError(
            f"--{flag}={text}: not numbers with commas between; as in 13,666"
        ) from error
