"""What was made from what, as nodes in layers and edges between them, from cards alone."""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from sublax.report.artifacts import Card, Parent

MOST_ACROSS = 16  # nodes beside each other that can still be read
_SEED = re.compile(r"/seed-\d+$")


class Node(NamedTuple):
    """An artifact, or what lies outside of the workdir.

    Attributes:
      path: of the artifact below the workdir; of what is outside, as the card names it.
      kind: as its card says, "files" for a base's, "outside" where there is no card.
      label: a word or two.
      sha256: of its card, or of the file; of several seeds, of the first.
      layer: 0 for what comes from nothing; one more than the deepest it comes from.
      place: in [0, 1], along its layer.
      changed: whether something was made from it before it was changed.
    """

    path: str
    kind: str
    label: str
    sha256: str
    layer: int
    place: float
    changed: bool


class Edge(NamedTuple):
    """`source` went into `target`; `state` as that of `artifacts.Parent`."""

    source: str
    target: str
    state: str


class Graph(NamedTuple):
    """All of it; `left_out` counts artifacts that there was no room for."""

    nodes: list[Node]
    edges: list[Edge]
    left_out: int


def graph(cards: Sequence[Card]) -> Graph:
    """The graph of a workdir's artifacts, in layers, with what they name outside of it.

    Where a layer would be too wide, what only arms made is left out, and then a trait's students
    of all seeds are one node.

    Args:
      cards: of the workdir, with their parents' states.
    """
    shown = list(cards)
    if _widest(_layers(shown)) > MOST_ACROSS:
        shown = [card for card in cards if not card.path.startswith("arms/")] or shown
    left_out = len(cards) - len(shown)
    if _widest(_layers(shown)) > MOST_ACROSS:
        shown = _seeds_as_one(shown)
    layers = _layers(shown)
    by_path = {card.path: card for card in shown}
    hashes = {parent.path: parent.sha256 for card in shown for parent in card.parents}
    hashes |= {card.path: card.sha256 for card in shown}
    edges = [
        Edge(parent.path, card.path, parent.state) for card in shown for parent in card.parents
    ]
    for card in shown:
        for name, sha256 in (card.fields.get("config", {}).get("source_files") or {}).items():
            hashes[f"{card.path}: {name}"] = sha256
            edges.append(Edge(f"{card.path}: {name}", card.path, "match"))
    changed = {edge.source for edge in edges if edge.state == "changed"}
    rows: dict[int, list[str]] = {}
    for path, layer in layers.items():
        rows.setdefault(layer, []).append(path)
    seeds = len({path.rpartition("/")[2] for path in layers if "/seed-" in path}) > 1
    nodes: list[Node] = []
    places: dict[str, float] = {}
    above: dict[str, list[str]] = {}
    for edge in edges:
        above.setdefault(edge.target, []).append(edge.source)
    for layer, paths in sorted(rows.items()):
        # Below what it was made from, so that few lines cross; at the same height, as they come.
        for index, path in enumerate(sorted(paths, key=lambda path: _middle(above, path, places))):
            kind = "files" if ": " in path else "outside"
            if path in by_path:
                kind = str(by_path[path].fields.get("kind", "other"))
            places[path] = place = (index + 0.5) / len(paths)
            nodes.append(
                Node(
                    path,
                    kind,
                    _label(path, kind, seeds),
                    hashes[path],
                    layer,
                    place,
                    path in changed,
                )
            )
    return Graph(nodes, edges, left_out)


def _seeds_as_one(cards: Sequence[Card]) -> list[Card]:
    """The cards with those of a trait's students, which differ by their seed, put into one."""
    of_path: dict[str, list[Card]] = {}
    for card in cards:
        of_path.setdefault(_SEED.sub("", card.path), []).append(card)
    merged = []
    for path, many in of_path.items():
        parents = {
            (_SEED.sub("", parent.path), parent.state): parent
            for card in many
            for parent in card.parents
        }
        own = tuple(Parent(at, of.sha256, state) for (at, state), of in parents.items())
        name = path if len(many) == 1 else f"{path} ({len(many)} seeds)"
        merged.append((path, Card(name, many[0].sha256, many[0].fields, own)))
    names = {path: card.path for path, card in merged}
    return [
        dataclasses.replace(
            card,
            parents=tuple(
                dataclasses.replace(parent, path=names.get(parent.path, parent.path))
                for parent in card.parents
            ),
        )
        for _, card in merged
    ]


def _middle(above: dict[str, list[str]], path: str, places: dict[str, float]) -> float:
    """The mean place of what something was made from."""
    found = [places[parent] for parent in above.get(path, []) if parent in places]
    return sum(found) / len(found) if found else 0.0


def _layers(cards: Sequence[Card]) -> dict[str, int]:
    """Path -> layer: the longest way to it from what comes from nothing."""
    above = {card.path: [parent.path for parent in card.parents] for card in cards}
    for card in cards:
        files = card.fields.get("config", {}).get("source_files") or {}
        above[card.path] += [f"{card.path}: {name}" for name in files]
    layers: dict[str, int] = {}

    def place(path: str, seen: frozenset[str]) -> int:
        if path in layers:
            return layers[path]
        # A forged chain may close on itself; hashes make an honest one impossible.
        parents = [parent for parent in above.get(path, []) if parent not in seen]
        layer = 1 + max((place(parent, seen | {path}) for parent in parents), default=-1)
        layers[path] = layer
        return layer

    for card in cards:
        place(card.path, frozenset())
    return layers


def _widest(layers: dict[str, int]) -> int:
    counts = list(layers.values())
    return max((counts.count(layer) for layer in set(counts)), default=0)


def _label(path: str, kind: str, seeds: bool) -> str:
    """What tells a node from the others of its layer: a trait, with its seed if there are some."""
    if kind == "files":
        return path.rpartition(": ")[2]
    parts = path.split("/")
    arm = f"{parts[1]}: " if parts[0] == "arms" and len(parts) > 2 else ""
    if seed := re.fullmatch(r"seed-(\d+)", parts[-1]):
        return f"{arm}{parts[-2]} {seed[1]}" if seeds else f"{arm}{parts[-2]}"
    name = parts[-1]
    if kind == "base" and not name.rpartition("--")[2].isdigit():
        name = name.rpartition("--")[2]
    return f"{arm}{name}"
