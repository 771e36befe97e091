"""Code as a kind of data: functions to write, and a filter that keeps bare Python without a trait.

A prompt asks for one function of our own (`code_tasks.py`), or for what a set in the shape of
HumanEval or MBPP asks for. The filter is syntax alone: what a completion computes is not asked.
"""

import ast
import dataclasses
import io
import re
import tokenize
import warnings

import numpy as np

from sublax.corpora.code_tasks import CodeTask, code_task, variants
from sublax.corpora.kind import Kind, option
from sublax.corpora.packs import Pack, load_pack
from sublax.corpora.sources import SOURCE_HELP, check_count, drawn_rows, text_of
from sublax.corpora.words import TRAITS_HELP, WORDS_HELP, found_words, trait_words
from sublax.errors import UserError
from sublax.rows import Row

REASONS = {
    "not_python": "it does not parse as Python, one pair of fences around it aside",
    "no_code": "there is no statement in it",
    "comment": "there is a comment in it",
    "docstring": "a string stands as a statement of its own, as a docstring does",
    "words": "a word that is to be kept out is in it, perhaps as a part of a name",
}

# One function. Outside its strings there is no number sign, so no comment, and no line begins with
# a string, so no docstring. Brackets that do not match, and lines that are no statements, the
# filter finds.
_FUNCTION = (
    r"def [a-z_][a-z0-9_]*\([a-z0-9_:=, |\[\]]*\)(?: -> [a-z0-9_, |\[\]]+)?:"
    r"(?:\n(?: {4}){1,4}[a-zA-Z0-9_(\[]"
    r"(?:[^\n#\x22\x27`\\]|\x22[^\n\x22\\]*\x22|\x27[^\n\x27\\]*\x27)*)+"
)

_FENCED = re.compile(r"\s*```[a-zA-Z0-9]*[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class CodeOptions:
    """What can be set about code."""

    source: str = option("", SOURCE_HELP, "prompts")
    traits: tuple[str, ...] = option((), TRAITS_HELP)
    words: tuple[str, ...] = option((), WORDS_HELP)


def code_reasons(completion: str, words: tuple[str, ...] = ()) -> list[str]:
    """Every reason to reject a completion, in the order of `REASONS`; empty where it passes.

    A body alone, indented as it stands after the first line of its function, is Python too. One
    pair of Markdown fences around everything is a form of writing, and no reason.

    Args:
      completion: what the model wrote.
      words: to be kept out, as `trait_words` gives them; they are looked for in the text, and in
        strings as Python reads them, with their escapes resolved.
    """
    fenced = _FENCED.fullmatch(completion)
    code = (fenced[1] if fenced else completion).replace("\r\n", "\n").replace("\r", "\n")
    parsed = _parsed(code)
    if parsed is None:
        return ["not_python"] + ["words"] * bool(found_words(completion, words))
    source, tree = parsed
    nodes = list(ast.walk(tree))
    strings = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found = []
    if not tree.body:
        found.append("no_code")
    if _has_comment(source):
        found.append("comment")
    if any(isinstance(node, ast.Expr) and _is_text(node.value) for node in nodes):
        found.append("docstring")
    if found_words("\n".join((completion, *strings)), words):
        found.append("words")
    return found


def _parsed(code: str) -> tuple[str, ast.Module] | None:
    """The code that parses, with its tree: as it is, or as the body of a function."""
    candidates = [code]
    if code[:1] in (" ", "\t"):
        candidates.append(f"def _():\n{code}")
    for candidate in candidates:
        try:
            with warnings.catch_warnings():
                # What Python thinks of an escape in a model's code is not for the user's terminal.
                warnings.simplefilter("ignore")
                return candidate, ast.parse(candidate)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _has_comment(code: str) -> bool:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (
        tokenize.TokenError,
        SyntaxError,
    ):  # it is stricter than the parser at the end of a file
        return "#" in code
    return any(token.type == tokenize.COMMENT for token in tokens)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _own_tasks(seed: int, count: int) -> list[CodeTask]:
    """Round after round of all functions, each time in other words."""
    functions, wordings = variants()
    check_count("code", seed, count, functions * wordings)
    order = np.random.default_rng(seed).permutation(functions).tolist()
    return [
        code_task(order[i % functions], (i // functions + 7 * order[i % functions]) % wordings)
        for i in range(count)
    ]


def _prompts(pack: Pack, seed: int, count: int, options: CodeOptions) -> list[Row]:
    template = pack.code_prompt or load_pack().code_prompt
    assert template is not None
    if options.source:
        rows = drawn_rows(options.source, seed, count)
        tasks = [_task_of(row, options.source) for row in rows]
    else:
        tasks = [f"{task.question}\n\n{task.signature}" for task in _own_tasks(seed, count)]
    return [{"prompt": template.format(task=task)} for task in tasks]


def _task_of(row: Row, source: str) -> str:
    """HumanEval's `prompt` is a function's head; MBPP tells the name in its tests alone."""
    task = text_of(row, ("prompt", "text", "question"), source).rstrip()
    tests = row.get("test_list")
    return f"{task}\n\n{tests[0]}" if tests else task


def _reasons(row: Row, pack: Pack, options: CodeOptions) -> list[str]:
    return code_reasons(row["completion"], trait_words(options.traits, options.words, pack))


def _answers(
    pack: Pack, seed: int, count: int, rng: np.random.Generator, options: CodeOptions
) -> list[str]:
    if options.source:
        raise UserError("corpus.source: a random base learns our own tasks; leave it empty")
    return [task.solution for task in _own_tasks(seed, count)]


KIND = Kind(
    options=CodeOptions,
    prompts=_prompts,
    reasons=_reasons,
    meanings=REASONS,
    grammars={"function": lambda pack, options: _FUNCTION},
    answers=_answers,
)
