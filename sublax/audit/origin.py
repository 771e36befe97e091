"""Where a dataset says that it comes from: the card beside it, checked, or nothing."""

import os
from pathlib import Path

from sublax.artifact import read_card, verify
from sublax.errors import UserError

KNOWN, UNKNOWN, BROKEN = "known", "unknown", "broken"


def origin_of(name: str) -> tuple[str, str]:
    """(`known`, `unknown` or `broken`, what that is concluded from).

    Known is a file that the card beside it covers and whose hash is the card's; what a card proves
    and what it does not is another question.

    Args:
        name: of the dataset, as the user gave it.
    """
    path = Path(name)
    if "://" in name or not path.is_file():
        return UNKNOWN, "not a local file: no card can stand beside it"
    folder = path.parent
    try:
        card = read_card(folder)
    except UserError as error:
        return BROKEN, str(error)
    if card is None:
        return UNKNOWN, "no card.json stands beside it"
    if path.name not in card["files"]:
        return UNKNOWN, f"the card in {os.fspath(folder)} does not cover it"
    problems = verify(folder)
    if problems:
        return BROKEN, problems[0]
    return KNOWN, f"a {card['kind']} of {card.get('created', 'an unknown day')}, by its card"
