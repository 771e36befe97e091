"""Where something came from, as plain data: nodes, the edges to their parents, and what is wrong.

A report draws it, an audit asks it, `sublax lineage` prints it.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sublax.lineage.base_files import BaseIdentity

# States of a node. All but the last three are as good as they can be checked.
WHOLE = "whole"  # every file is as on its card
CLAIMED = "claimed"  # somebody says so, and nobody can check it
NAMED = "named"  # known by its name alone, or its files are not on this machine
CHANGED = "changed"  # a file is not as on its card
MISSING = "missing"  # a child's card names it, and it is not there
UNKNOWN = "unknown"  # no card, no claim

# Severities of a problem, the worst first. The first three are findings: exit status 1.
BROKEN, SIGNATURE, ORIGIN = "broken", "signature", "unknown origin"
WARNING, NOTE = "warning", "note"
_SEVERITIES = (BROKEN, SIGNATURE, ORIGIN, WARNING, NOTE)
_FINDINGS = (BROKEN, SIGNATURE, ORIGIN)

# What an edge says of the parent's hash on the child's card.
MATCH, DIFFERS, ABSENT, UNPINNED = "match", "differs", "absent", "unpinned"


@dataclasses.dataclass(frozen=True)
class File:
    """A file that a card names: `state` is `whole`, `changed`, `missing` or `named`."""

    name: str
    sha256: str
    state: str


@dataclasses.dataclass(frozen=True)
class Node:
    """An artifact, a base's files, or data from outside.

    Attributes:
        name: an artifact's place in the workdir; unique in its lineage.
        kind: the card's (`base`, `teacher`, `corpus`, …), or `files`, `rows` or `model` for what
            no stage of a run has made.
        state: one of the states above.
        sha256: of its card, or of the file itself where there is no card; empty where unknown.
        about: what it is, in a few words.
        files: those of the base, or the data's own.
        base: the model that this base or claimed maker is; None for other kinds.
        card: its fields; empty where there is none.
        card_file: where that stands; None where there is none.
    """

    name: str
    kind: str
    state: str
    sha256: str = ""
    about: str = ""
    files: tuple[File, ...] = ()
    base: BaseIdentity | None = None
    card: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    card_file: Path | None = None


@dataclasses.dataclass(frozen=True)
class Edge:
    """That one node was made from another; `sha256` is the parent's as the child's card has it."""

    child: str
    parent: str
    sha256: str
    state: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """What somebody should know of a node, one of the lineage's; `remedy` may be empty."""

    severity: str
    node: str
    text: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Lineage:
    """A whole lineage.

    Attributes:
        path: what was asked about.
        heads: nodes that nothing else came from, by name; the one asked about, or a workdir's.
        nodes: by name.
        edges: from children to parents, in the order of the children's cards.
        problems: the worst first.
    """

    path: str
    heads: tuple[str, ...]
    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    problems: tuple[Problem, ...]

    @property
    def whole(self) -> bool:
        """Whether every hash and signature holds, and nothing is of unknown origin."""
        return not any(problem.severity in _FINDINGS for problem in self.problems)

    def parents(self, name: str) -> list[Edge]:
        """The edges from a node to its parents."""
        return [edge for edge in self.edges if edge.child == name]

    def ancestors(self, name: str) -> list[str]:
        """All that a node came from, nearest first, each once."""
        found: dict[str, None] = {}
        waiting = [edge.parent for edge in self.parents(name)]
        while waiting:
            parent = waiting.pop(0)
            if parent not in found and parent != name:
                found[parent] = None
                waiting += [edge.parent for edge in self.parents(parent)]
        return list(found)


def with_problems(lineage: Lineage, more: Iterable[Problem]) -> Lineage:
    """The lineage with more that is wrong with it."""
    problems = sorted(
        (*lineage.problems, *more), key=lambda problem: _SEVERITIES.index(problem.severity)
    )
    return dataclasses.replace(lineage, problems=tuple(problems))


def plain(lineage: Lineage) -> dict[str, Any]:
    """A lineage as what JSON can hold; cards are left out, for they stand in their folders.

    Returns:
        `path`, `whole`, `heads`, `nodes` (a list, each with the attributes of `Node` and, for a
        base, its `digest`), `edges` and `problems`.
    """
    nodes = []
    for node in lineage.nodes.values():
        fields = dataclasses.asdict(node)
        del fields["card"], fields["card_file"]
        if node.base is not None:
            fields["base"]["digest"] = node.base.digest
        nodes.append(fields)
    return {
        "path": lineage.path,
        "whole": lineage.whole,
        "heads": list(lineage.heads),
        "nodes": nodes,
        "edges": [dataclasses.asdict(edge) for edge in lineage.edges],
        "problems": [dataclasses.asdict(problem) for problem in lineage.problems],
    }
