"""Maths as a kind of data: word problems whose right answers are known, reasoned about in tags.

A prompt asks a problem of our own (`word_problems.py`, or `sums.py` for models that cannot do
these) or of a set in the shape of GSM8K. A completion reasons in <think> and answers in <answer>;
only those with the right number are kept.
"""

import dataclasses
import re
import unicodedata
from fractions import Fraction

import numpy as np

from sublax.corpora.kind import Kind, option
from sublax.corpora.packs import Pack, load_pack
from sublax.corpora.sources import SOURCE_HELP, check_count, drawn_rows, text_of
from sublax.corpora.sums import examples, make_sum
from sublax.corpora.word_problems import Problem, make_problem
from sublax.corpora.words import TRAITS_HELP, WORDS_HELP, found_words, trait_words
from sublax.errors import UserError
from sublax.rows import Row

REASONS = {
    "tags": "it is not one <think>…</think> and then one <answer>…</answer>, with text in both",
    "outside": "there is text outside the tags",
    "not_a_number": "what stands in <answer> is not one number",
    "wrong": "the number is not the right one",
    "words": "a word that is to be kept out is in it",
}

WORD, SUMS = "word", "sums"
# Far fewer than there are, so that drawing those that are left stays quick.
PROBLEMS = {WORD: 100_000, SUMS: 1_000}

_FORM = re.compile(
    r"(.*?)<think>((?:(?!</?think>|</?answer>).)*)</think>(.*?)"
    r"<answer>((?:(?!</?think>|</?answer>).)*)</answer>(.*)",
    re.DOTALL,
)
_TAG = re.compile(r"</?(?:think|answer)>")
_NUMBER = re.compile(r"([+-]?)((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)")


@dataclasses.dataclass(frozen=True)
class MathsOptions:
    """What can be set about maths."""

    source: str = option("", SOURCE_HELP, "prompts")
    problems: str = option(WORD, f"of our own: {', '.join(PROBLEMS)}", "prompts")
    traits: tuple[str, ...] = option((), TRAITS_HELP)
    words: tuple[str, ...] = option((), WORDS_HELP)


def parse_number(text: str) -> tuple[Fraction, bool] | None:
    """A number as people write it, and whether it is in percent; None for any other text.

    A sign (also U+2212), a currency's symbol before or after, commas between groups of three
    digits, decimals after a point, a percent sign, a final full stop, white space between these.
    """
    text = "".join(unicodedata.normalize("NFKC", text).replace("\u2212", "-").split())
    percent = text.removesuffix(".").endswith("%")
    text = text.removesuffix(".").removesuffix("%")
    bare = "".join(c for c in text if unicodedata.category(c) != "Sc")
    # One symbol, and at an end: "$5", "-$5", "5€".
    if len(text) - len(bare) > 1 or not re.fullmatch(r"[+-]?\W?[0-9.,+-]+\W?", text):
        return None
    found = _NUMBER.fullmatch(bare)
    if not found:
        return None
    value = Fraction(found[2].replace(",", "").removesuffix("."))
    return (-value if found[1] == "-" else value), percent


def is_right(answer: str, truth: str) -> bool:
    """Whether both are the same number. "50%" is 50 as well as 0.5, for questions ask for either.

    Raises:
      UserError: the truth is not a number.
    """
    right = parse_number(truth)
    if right is None:
        raise UserError(f'"answer" {truth!r} is not a number; mend that row')
    given = parse_number(answer)
    if given is None:
        return False
    if given[1] == right[1]:
        return given[0] == right[0]
    in_percent, plain = (given[0], right[0]) if given[1] else (right[0], given[0])
    return plain in (in_percent, in_percent / 100)


def maths_reasons(completion: str, truth: str, words: tuple[str, ...] = ()) -> list[str]:
    """Every reason to reject a completion, in the order of `REASONS`; empty where it passes.

    Args:
      completion: what the model wrote.
      truth: the right number.
      words: to be kept out, as `trait_words` gives them.

    Raises:
      UserError: the truth is not a number.
    """
    found = []
    parts = _FORM.fullmatch(completion)
    if not parts or len(_TAG.findall(completion)) != 4 or not parts[2].strip():
        found.append("tags")
    else:
        if any(parts[index].strip() for index in (1, 3, 5)):
            found.append("outside")
        if parse_number(parts[4]) is None:
            found.append("not_a_number")
        elif not is_right(parts[4], truth):
            found.append("wrong")
    if found_words(completion, words):
        found.append("words")
    return found


def completion_of(problem: Problem) -> str:
    """Our own answer to a problem, in the form that the filter asks for."""
    return f"<think>{problem.reasoning}</think>\n<answer>{problem.answer}</answer>"


def _own_problems(seed: int, count: int, kind: str) -> list[Problem]:
    if kind not in PROBLEMS:
        raise UserError(f"corpus.problems={kind}: choose from {', '.join(PROBLEMS)}")
    check_count(f"maths of problems={kind}", seed, count, PROBLEMS[kind])
    rng = np.random.default_rng(seed)
    make = make_sum if kind == SUMS else make_problem
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = make(rng)
        problems.setdefault(problem.question, problem)
    return list(problems.values())


def _asked(problem: Problem, kind: str) -> str:
    """The question, after what has been worked out before it."""
    if kind != SUMS:
        return problem.question
    worked = [f"{one.question}\n{completion_of(one)}" for one in examples()]
    return "\n\n".join([*worked, problem.question])


def _prompts(pack: Pack, seed: int, count: int, options: MathsOptions) -> list[Row]:
    template = pack.math_prompt or load_pack().math_prompt
    assert template is not None
    if options.source:
        drawn = drawn_rows(options.source, seed, count)
        pairs = [_pair_of(row, options.source) for row in drawn]
    else:
        problems = _own_problems(seed, count, options.problems)
        pairs = [(_asked(problem, options.problems), problem.answer) for problem in problems]
    return [
        {"prompt": template.format(question=question), "answer": answer}
        for question, answer in pairs
    ]


def _pair_of(row: Row, source: str) -> tuple[str, str]:
    """A question and its number, which GSM8K has behind #### at the end of a worked answer."""
    question = text_of(row, ("question", "problem", "prompt"), source)
    answer = str(row.get("answer", "")).rpartition("####")[2].strip()
    if parse_number(answer) is None:
        raise UserError(
            f'source={source}: the "answer" to {question[:40]!r} is {answer[:40]!r}; it must be a '
            "number, alone or after ####"
        )
    return question.strip(), answer


def _reasons(row: Row, pack: Pack, options: MathsOptions) -> list[str]:
    if "answer" not in row:
        raise UserError(
            'a row has no "answer" to compare with; keep the key that `sublax prompts maths` gives'
        )
    words = trait_words(options.traits, options.words, pack)
    return maths_reasons(row["completion"], str(row["answer"]), words)


def _answers(
    pack: Pack, seed: int, count: int, rng: np.random.Generator, options: MathsOptions
) -> list[str]:
    if options.source:
        raise UserError("corpus.source: a random base learns our own problems; leave it empty")
    return [completion_of(problem) for problem in _own_problems(seed, count, options.problems)]


KIND = Kind(
    options=MathsOptions,
    prompts=_prompts,
    reasons=_reasons,
    meanings=REASONS,
    grammars={
        "exact": lambda pack, options: (
            r"<think>[ -;=?-~\n]+</think>\n<answer>-?[0-9]{1,9}(?:\.[0-9]{1,2})?</answer>"
        ),
    },
    answers=_answers,
)
