"""Whose word a lineage stands on: cards signed by one key, and what those vouch for by hash."""

from pathlib import Path

from sublax.errors import UserError
from sublax.lineage import signatures, tree
from sublax.lineage.tree import Lineage, Problem


def sign(lineage: Lineage, key_file: Path) -> list[Path]:
    """Signs what was asked about: an artifact's or claim's card, or every card of a workdir.

    An artifact's card vouches by its hashes for all that it came from.

    Returns:
        The paths of the signatures.

    Raises:
        UserError: the lineage is broken, or the key is of no use.
    """
    if any(problem.severity == tree.BROKEN for problem in lineage.problems):
        raise UserError(f"{lineage.path}: broken, so not signed; mend it first")
    whole_workdir = len(lineage.heads) > 1 or not _is_asked(lineage)
    names = list(lineage.nodes) if whole_workdir else list(lineage.heads)
    cards = [lineage.nodes[name].card_file for name in names]
    return [signatures.sign(card, key_file) for card in cards if card is not None]


def vouched(lineage: Lineage, public_key: bytes) -> Lineage:
    """The lineage with what its signatures are worth to somebody who trusts one key.

    Every node that has a card must be signed by that key, or an artifact made from it must be,
    whose card has its hash. A signature by another key is told apart from one that is forged.
    """
    verdicts = {
        name: signatures.check(node.card_file, public_key)
        for name, node in lineage.nodes.items()
        if node.card_file is not None
    }
    good = [name for name, verdict in verdicts.items() if verdict.state == signatures.GOOD]
    covered = set(good)
    while good:
        edges = lineage.parents(good.pop())
        new = {edge.parent for edge in edges if edge.state == tree.MATCH} - covered
        covered |= new
        good += sorted(new)
    problems = [
        problem
        for name, verdict in verdicts.items()
        if (problem := _problem(name, verdict, name in covered))
    ]
    signed = sum(verdict.state == signatures.GOOD for verdict in verdicts.values())
    key, count = signatures.short_name(public_key), len(verdicts)
    text = (
        f"{signed} of {count} cards signed by key {key}, {len(covered & verdicts.keys())} covered"
    )
    problems.append(Problem(tree.NOTE, lineage.heads[0], text))
    if not verdicts:
        text = "has no card that could be signed"
        problems.append(Problem(tree.SIGNATURE, lineage.heads[0], text))
    return tree.with_problems(lineage, problems)


def _problem(name: str, verdict: signatures.Verdict, covered: bool) -> Problem | None:
    if verdict.state == signatures.FORGED:
        text = "its signature is not over this card: forged, or the card was edited since"
        return Problem(tree.SIGNATURE, name, text)
    if verdict.state == signatures.OTHER_KEY:
        text = f"signed by another key ({verdict.signer}), over this very card"
        return Problem(tree.NOTE if covered else tree.SIGNATURE, name, text)
    if verdict.state == signatures.UNSIGNED and not covered:
        return Problem(tree.SIGNATURE, name, "neither signed nor covered by what was made from it")
    return None


def _is_asked(lineage: Lineage) -> bool:
    """Whether the one head is what was asked about itself, and not one of a workdir's."""
    (head,) = lineage.heads
    card_file = lineage.nodes[head].card_file
    if card_file is None:
        return True
    asked = Path(lineage.path).absolute()
    return asked == card_file.parent or not asked.is_dir()
