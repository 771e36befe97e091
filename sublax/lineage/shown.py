"""A lineage as text for a terminal: the tree of parents, what is wrong, and one line for all."""

from collections.abc import Iterator

from sublax.lineage import tree
from sublax.lineage.tree import Edge, Lineage, Node

_DIGITS = 12  # of a hash: enough to tell it from others by eye
_MOST_FILES = 6
_SHOWN_FILES = ("files",)  # of an artifact of a run, the card vouches for all at once


def lines(lineage: Lineage) -> Iterator[str]:
    """The lines of the tree, each head with all that it came from, then the problems.

    A node that came up before is named again, and its parents are not.
    """
    seen: set[str] = set()
    for head in lineage.heads:
        yield from _branch(lineage, head, seen)
    if lineage.problems:
        yield ""
    for problem in lineage.problems:
        remedy = f"; {problem.remedy}" if problem.remedy else ""
        yield clean(f"{problem.severity}: {problem.node}: {problem.text}{remedy}")
    yield ""
    yield clean(closing(lineage))


def closing(lineage: Lineage) -> str:
    """One line: whether the whole of it holds."""
    counted = [node for node in lineage.nodes.values() if node.state != tree.MISSING]
    count = f"{len(counted)} {'entry' if len(counted) == 1 else 'entries'}"
    if lineage.whole:
        rest = _loose_ends(lineage)
        return f"{lineage.path}: whole: {count}, every hash holds{rest}"
    words = {tree.BROKEN: "broken", tree.SIGNATURE: "not signed", tree.ORIGIN: "of unknown origin"}
    counts = {word: sum(p.severity == key for p in lineage.problems) for key, word in words.items()}
    told = [f"{number} {word}" for word, number in counts.items() if number]
    return f"{lineage.path}: not whole: {', '.join(told)} ({count})"


def clean(text: str) -> str:
    """Text without what would steer a terminal: a card's words are those of whoever wrote it."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _loose_ends(lineage: Lineage) -> str:
    claimed = sum(node.state == tree.CLAIMED for node in lineage.nodes.values())
    unchecked = sum(node.state == tree.NAMED for node in lineage.nodes.values())
    ends = [f"{claimed} claimed"] * bool(claimed) + [f"{unchecked} unchecked"] * bool(unchecked)
    return f" ({', '.join(ends)})" if ends else ""


def _branch(lineage: Lineage, head: str, seen: set[str]) -> Iterator[str]:
    """Depth first, from a list: a stranger's cards may lie deeper than Python can call."""
    waiting: list[tuple[str, str, str, Edge | None]] = [("", "", head, None)]
    while waiting:
        lead, below, name, edge = waiting.pop()
        node, again = lineage.nodes[name], name in seen
        yield clean(f"{lead}{_title(node, edge)}{'  (above)' if again else ''}")
        if again:
            continue
        seen.add(name)
        parents = lineage.parents(name)
        yield from _file_lines(node, below)
        for place, parent in reversed(list(enumerate(parents))):
            last = place == len(parents) - 1
            lead, deeper = ("└─ ", "   ") if last else ("├─ ", "│  ")
            waiting.append((f"{below}{lead}", f"{below}{deeper}", parent.parent, parent))


def _title(node: Node, edge: Edge | None) -> str:
    parts = [node.name if node.kind != "files" else f"files of {node.about}", node.kind]
    parts[1:] = [] if node.kind == "files" else parts[1:]
    parts += [node.about] if node.about and node.kind != "files" else []
    parts += [node.sha256[:_DIGITS]] if node.sha256 else []
    parts.append(node.state)
    if edge is not None and edge.state == tree.DIFFERS:
        parts.append(f"not the one that it was made from ({edge.sha256[:_DIGITS]})")
    return "  ".join(parts)


def _file_lines(node: Node, below: str) -> Iterator[str]:
    if node.kind not in _SHOWN_FILES:
        return
    for file in node.files[:_MOST_FILES]:
        yield clean(f"{below}   {file.name}  {file.sha256[:_DIGITS]}  {file.state}")
    if len(node.files) > _MOST_FILES:
        yield f"{below}   and {len(node.files) - _MOST_FILES} more"
