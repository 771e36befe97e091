"""Python in one form of writing: as `ast.unparse` has it, without comments, local names numbered.

What it computes stays: only names that nothing outside of a function can see are numbered.
"""

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator

_FENCED = re.compile(r"\s*```[a-zA-Z0-9]*[ \t]*\n(.*?)\n?```\s*", re.DOTALL)
# Who calls one of these sees local names.
_SEES_NAMES = {"locals", "vars", "dir", "eval", "exec"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def canonical_code(text: str) -> str | None:
    """Python in one form of writing; None for what is no Python, or a lone expression.

    Comments, docstrings and one pair of Markdown fences around everything are gone. Arguments and
    other names that are bound in functions alone are called v0, v1, … in the order in which they
    come. Kept are names that a call gives as a keyword, that are global or imported, and all where
    the code looks at its own names (`locals`, `eval`, …). A body alone, indented as it stands
    after the first line of its function, keeps all its names and its indentation, for its
    arguments are named elsewhere.
    """
    fenced = _FENCED.fullmatch(text)
    code = (fenced[1] if fenced else text).replace("\r\n", "\n").replace("\r", "\n")
    body_alone = code[:1] in (" ", "\t")
    tree = _parsed(f"def _():\n{code}" if body_alone else code)
    if tree is None or all(isinstance(node, ast.Expr) for node in tree.body):
        return None  # a word, or a list of words, is an expression too
    _drop_strings(tree)
    if body_alone:
        return _written(tree).partition("\n")[2]
    names = _numbered(tree, code)
    if not tree.body:
        return None
    return _written(_Renamed(names).visit(tree) if names else tree)


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            # What Python thinks of an escape in somebody's code is not for the user's terminal.
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _written(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(tree))


def _drop_strings(tree: ast.Module) -> None:
    """Takes out strings that stand as statements of their own, as docstrings do."""
    for node in list(ast.walk(tree)):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if not isinstance(statements, list):
                continue
            kept = [each for each in statements if not _is_string(each)]
            if not kept and statements and not isinstance(node, ast.Module):
                kept = [ast.Pass()]
            setattr(node, field, kept)


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str | bytes)
    )


def _numbered(tree: ast.Module, code: str) -> dict[str, str]:
    """The new name of each name that nothing outside of a function sees.

    One name is one name everywhere, whatever function it is in, so nothing that was one variable
    becomes two, or two one.
    """
    inside: dict[str, None] = {}
    try:
        seen = set(dir(builtins)) | set(_global(symtable.symtable(code, "", "exec")))
    except (SyntaxError, ValueError, RecursionError):  # the parser takes more than the compiler
        return {}
    for name, is_inside in _bound(tree, False):
        if is_inside:
            inside.setdefault(name)
        else:
            seen.add(name)
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            seen.add(node.arg)
        elif type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple"):  # of Python 3.12
            seen.add(getattr(node, "name", ""))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            seen.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name):
            used.add(node.id)
    if used & _SEES_NAMES:
        return {}
    chosen = [name for name in inside if name not in seen and not name.startswith("__")]
    taken = (seen | used | set(inside)) - set(chosen)
    numbers = (f"v{number}" for number in range(len(chosen) + len(taken)))
    free = (name for name in numbers if name not in taken)
    return dict(zip(chosen, free, strict=False))


def _global(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that any function looks for outside of all functions."""
    yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
    for child in table.get_children():
        yield from _global(child)


def _bound(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
    """Names that are bound, in the order of the source, each with whether a function does it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _NAMED):
            yield child.name, inside
        yield from ((name, inside) for name in _own_names(child))
        # A class's names are its attributes, seen from everywhere.
        within = isinstance(child, _FUNCTIONS) or (inside and not isinstance(child, ast.ClassDef))
        yield from _bound(child, within)


def _own_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        return [node.name]
    if isinstance(node, ast.MatchMapping) and node.rest:
        return [node.rest]
    return []


class _Renamed(ast.NodeTransformer):
    """Gives names their new ones wherever a name can stand."""

    _FIELDS = {"Name": "id", "arg": "arg", "MatchMapping": "rest"} | dict.fromkeys(
        ("FunctionDef", "AsyncFunctionDef", "ClassDef", "ExceptHandler", "MatchAs", "MatchStar"),
        "name",
    )

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if field := self._FIELDS.get(type(node).__name__):
            old = getattr(node, field)
            setattr(node, field, self._names.get(old, old))
        if isinstance(node, ast.Nonlocal):
            node.names = [self._names.get(name, name) for name in node.names]
        return super().generic_visit(node)
