"""What is known of where some rows came from, for whoever is about to train on them."""

import dataclasses
import os
from pathlib import Path

from sublax.lineage import tree
from sublax.lineage.base_files import (
    DERIVED,
    OTHER_FILES,
    SAME,
    SAME_NAME,
    UNKNOWN,
    BaseIdentity,
    compare,
)
from sublax.lineage.shared_bases import teachers_bases
from sublax.lineage.trace import trace
from sublax.lineage.tree import Lineage

# Of `Origin.state`; a chain that is broken proves nothing, whatever else it says.
KNOWN, CLAIMED, NO_ORIGIN, BROKEN = "known", "claimed", "unknown", "broken"
# From the one that says most to the one that says least.
_STRONGEST = (SAME, DERIVED, SAME_NAME, OTHER_FILES, UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where rows came from.

    Attributes:
        state: `known` (every hash holds, down to the cards of the bases), `claimed` (somebody
            says so, or a part of the chain is only claimed), `unknown` (rows, or something that
            they were made from, without a card or claim), or `broken` (a hash does not hold).
        summary: one line.
        bases: the models that wrote the rows or that their writers start from; those claimed too.
        lineage: the whole of it.
    """

    state: str
    summary: str
    bases: tuple[BaseIdentity, ...]
    lineage: Lineage = dataclasses.field(repr=False)

    def same_base(self, base: BaseIdentity) -> str:
        """How the rows' bases relate to a base: the strongest that `compare` says of any."""
        found = {compare(base, other) for other in self.bases} or {UNKNOWN}
        return next(how for how in _STRONGEST if how in found)


def origin(rows_path: os.PathLike | str) -> Origin:
    """The origin of rows.

    Args:
        rows_path: a file of rows, or the artifact that holds it.

    Raises:
        UserError: no such file.
    """
    lineage = trace(rows_path)
    head = lineage.nodes[lineage.heads[0]]
    parents: dict[str, list[str]] = {}
    for edge in lineage.edges:
        parents.setdefault(edge.child, []).append(edge.parent)
    bases = teachers_bases(head.name, lineage.nodes, parents)
    if head.base is not None and head.kind != "base":
        bases.append(head.base)
    return Origin(_state(lineage), _summary(lineage, bases), tuple(bases), lineage)


def _state(lineage: Lineage) -> str:
    severities = {problem.severity for problem in lineage.problems}
    if tree.BROKEN in severities:
        return BROKEN
    if tree.ORIGIN in severities:
        return NO_ORIGIN
    claimed = any(node.state == tree.CLAIMED for node in lineage.nodes.values())
    return CLAIMED if claimed else KNOWN


def _summary(lineage: Lineage, bases: list[BaseIdentity]) -> str:
    state, head = _state(lineage), lineage.nodes[lineage.heads[0]]
    if state in (BROKEN, NO_ORIGIN):
        worst = lineage.problems[0]
        return f"origin: {state} ({worst.node}: {worst.text})"
    if head.state == tree.CLAIMED:
        return f"origin: claimed, not verified ({head.about})"
    models = ", ".join(dict.fromkeys(base.name for base in bases)) or "no model named on a card"
    return f"origin: {state}, {Path(head.name).as_posix()} ({head.about}), from {models}"
