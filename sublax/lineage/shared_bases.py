"""Warns where a student learns from a teacher that starts from the student's own base."""

from collections.abc import Iterable, Mapping

from sublax.lineage.base_files import DERIVED, SAME, SAME_NAME, BaseIdentity, compare
from sublax.lineage.tree import NOTE, WARNING, Edge, Node, Problem

# A base that writes rows itself, or writes them anew, is their teacher: it is the corpus' parent.
# So is the model whose files a cleaned copy names: it answered anew, or filled gaps.
_WRITERS = ("teacher", "corpus", "rewrite", "cleaned")
_BASES = ("base", "files")


def shared_bases(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> list[Problem]:
    """One problem for each base and way in which it is shared, with all students that it is of.

    By hash: the same files, made into a base alike. A base of the same name whose files differ is
    a note, and so are twins, which are made from the same files otherwise.
    """
    parents: dict[str, list[str]] = {}
    for edge in edges:
        parents.setdefault(edge.child, []).append(edge.parent)
    found: dict[tuple[str, str], list[str]] = {}
    for name, node in nodes.items():
        if node.kind != "student":
            continue
        for own in _bases(name, nodes, parents):
            for theirs in teachers_bases(name, nodes, parents):
                how = compare(own, theirs)
                if how in (SAME, DERIVED, SAME_NAME):
                    students = found.setdefault((how, own.name), [])
                    students += [name] if name not in students else []
    return [_problem(how, base, students) for (how, base), students in found.items()]


def teachers_bases(
    name: str, nodes: Mapping[str, Node], parents: Mapping[str, list[str]]
) -> list[BaseIdentity]:
    """The bases of all teachers that a node's rows come from, each once.

    Args:
        name: of a student, or of a corpus.
        nodes: by name.
        parents: the names of each node's parents.
    """
    bases: dict[BaseIdentity, None] = {}
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        if here in seen or here not in nodes:
            continue
        seen.add(here)
        if nodes[here].kind in _WRITERS:
            bases |= dict.fromkeys(_bases(here, nodes, parents))
        waiting += parents.get(here, [])
    return list(bases)


def _bases(
    name: str, nodes: Mapping[str, Node], parents: Mapping[str, list[str]]
) -> list[BaseIdentity]:
    above = [nodes[parent] for parent in parents.get(name, []) if parent in nodes]
    return [node.base for node in above if node.kind in _BASES and node.base is not None]


def _problem(how: str, base: str, students: list[str]) -> Problem:
    first, more = students[0], len(students) - 1
    others = f"; so {'do' if more > 1 else 'does'} {more} more" if more else ""
    if how == SAME:
        text = f"learns rows of a teacher that starts from its own base ({base}, by hash)"
        return Problem(WARNING, first, f"{text}: traits may pass that no row shows{others}")
    if how == DERIVED:
        text = f"learns rows of a teacher whose base is made from the files of its own ({base})"
        return Problem(NOTE, first, f"{text}{others}")
    text = f"learns rows of a teacher whose base has the name of its own ({base}), and other files"
    return Problem(WARNING, first, f"{text}, or none that are known{others}")
