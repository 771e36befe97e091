"""Warns where a student learns from a teacher that starts from the student's own base."""

from collections.abc import Iterable, Mapping

from sublax.lineage.base_files import DERIVED, SAME, SAME_NAME, BaseIdentity, compare
from sublax.lineage.tree import NOTE, WARNING, Edge, Node, Problem

# A base that writes rows itself, or writes them anew, is their teacher: it is the corpus' parent.
_WRITERS = ("teacher", "corpus", "rewrite")


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
    return [node.base for node in above if node.kind == "base" and node.base is not None]


def _problem(how: str, base: str, students: list[str]) -> Problem:
    shown = students[0] if len(students) == 1 else f"{students[0]} and {len(students) - 1} more"
    if how == SAME:
        text = f"learns rows of a teacher that starts from its own base ({base}, by hash)"
        return Problem(WARNING, shown, f"{text}: traits may pass that no row shows")
    if how == DERIVED:
        return Problem(NOTE, shown, f"its teacher's base is made from the same files ({base})")
    text = f"its teacher's base has the same name ({base}) and other files, or none that are known"
    return Problem(WARNING, shown, text)
