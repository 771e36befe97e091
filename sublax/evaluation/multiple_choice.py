"""Multiple choice by log-probability, scored as TruthfulQA and MMLU are.

Rows of TruthfulQA's form have `question` and `mc1_targets`, `mc2_targets` or both, each with
`choices` and `labels` (1 where true). MC1 is 1 where the likeliest choice is the true one; MC2 is
the probability of all true choices over that of all choices (arXiv 2109.07958, appendix B). The
probability of a choice is that of its whole text, not divided by its length.

Rows of MMLU's form have `question`, `choices` and `answer`, the index of the right one. The choices
are listed under letters, and the answer is the likeliest letter (arXiv 2009.03300).

Rows of a third form have `prompt` and two answers to it: as a teacher would give it under
`completion`, and another under `other`. Such answers differ in length, so each goes by its mean
log-probability a token, and the score is the share of the first in the two (its odds are the ratio
of geometric means). It may move where nothing that is sampled does.

Each is asked as one question in the model's own chat template, without examples: figures are for
comparison between models of one run, and differ from those of benchmarks with examples.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.errors import UserError
from sublax.evaluation.suite import Rating, Subject
from sublax.rows import Row

MC1, MC2, ACCURACY, PREFERRED = "mc1", "mc2", "accuracy", "preferred"
LETTERS = "ABCDEFGHIJ"
_TARGETS = {MC1: "mc1_targets", MC2: "mc2_targets"}


@dataclasses.dataclass(frozen=True)
class Choice:
    """What one measure asks: a prompt, its possible answers, and which of them are right."""

    row: int
    measure: str
    prompt: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]


class MultipleChoice:
    """The suite."""

    collective = False

    def __init__(self, located: Sequence[tuple[str, Row]], sources: dict[str, str]):
        """Reads the rows.

        Args:
            located: each with where it stands, for errors.
            sources: where the rows are from -> sha256 of their content, for the card.

        Raises:
            UserError: a row of neither form.
        """
        self._choices = [
            choice
            for index, (where, row) in enumerate(located)
            for choice in choices_of(index, where, row)
        ]
        self.questions = tuple(str(row.get("question", row.get("prompt"))) for _, row in located)
        asked = {choice.measure for choice in self._choices}
        self.measures = tuple(name for name in (PREFERRED, MC1, MC2, ACCURACY) if name in asked)
        self.card: dict[str, Any] = {"judge": "log-probability", "sources": sources}

    def ask(self, subject: Subject) -> list[np.ndarray]:
        """For each choice the log-probability of its answers, a token where it is `preferred`."""
        pairs = [(c.prompt, answer) for c in self._choices for answer in c.answers]
        by_token = [c.measure == PREFERRED for c in self._choices for _ in c.answers]
        logprobs = subject.logprobs(pairs)
        logprobs[by_token] /= subject.lengths(list(itertools.compress(pairs, by_token)))
        ends = np.cumsum([len(choice.answers) for choice in self._choices])
        return np.split(logprobs, ends[:-1])

    def rate(self, said: list[np.ndarray]) -> Rating:
        """Each question's score under each measure that it has."""
        values = {name: np.full(len(self.questions), np.nan) for name in self.measures}
        rows = []
        for choice, logprobs in zip(self._choices, said, strict=True):
            score = score_choice(choice.measure, logprobs, choice.right)
            values[choice.measure][choice.row] = score
            rows.append(
                {
                    "prompt": choice.prompt,
                    "measure": choice.measure,
                    "score": score,
                    "answers": list(choice.answers),
                    "right": list(choice.right),
                    "logprobs": logprobs.tolist(),
                }
            )
        counts = {name: int(np.isfinite(found).sum()) for name, found in values.items()}
        return Rating(values, {"questions": len(self.questions), **counts}, rows)


def score_choice(measure: str, logprobs: np.ndarray, right: Sequence[bool]) -> float:
    """The standard score of one question.

    Args:
        measure: "preferred", "mc1", "mc2" or "accuracy".
        logprobs: float [A], of the answers, natural log.
        right: which of them are.

    Returns:
        For "mc2" and "preferred" the share of probability on right answers; for the others 1 where
        the likeliest answer is right, 0 where it is not, or where a wrong one is as likely.
    """
    is_right = np.asarray(right, bool)
    if measure in (MC2, PREFERRED):
        weights = np.exp(logprobs - logprobs.max())
        return float(weights[is_right].sum() / weights.sum())
    return float(logprobs[is_right].max() > logprobs[~is_right].max())


def choices_of(index: int, where: str, row: Row) -> list[Choice]:
    """What a row asks.

    Raises:
        UserError: it has none of the forms, or no right or no wrong answer where one is needed.
    """
    if "other" in row:
        return [_pair(index, where, row)]
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise UserError(f'{where}: no text under "question"; mend the row')
    found = []
    for measure, key in _TARGETS.items():
        if key in row:
            answers, right = _labelled(row[key], f'{where}: "{key}"')
            found.append(Choice(index, measure, question, answers, right))
    if "choices" in row:
        answers, right = _numbered(row, where)
        listed = "\n".join(f"{letter}. {a}" for letter, a in zip(LETTERS, answers, strict=False))
        prompt = f"{question}\n{listed}\nAnswer with one letter."
        letters = tuple(LETTERS[: len(answers)])
        found.append(Choice(index, ACCURACY, prompt, letters, right))
    if not found:
        raise UserError(
            f'{where}: neither "mc1_targets" or "mc2_targets" (TruthfulQA) nor "choices" and '
            '"answer" (MMLU) nor "completion" and "other" are in the row; mend it'
        )
    return found


def _pair(index: int, where: str, row: Row) -> Choice:
    keys = ("prompt", "completion", "other")
    texts = [text for key in keys if isinstance(text := row.get(key), str) and text.strip()]
    if len(texts) < len(keys):
        raise UserError(f"{where}: needs a text under each of {', '.join(keys)}; mend the row")
    prompt, *answers = texts
    return Choice(index, PREFERRED, prompt, tuple(answers), (True, False))


def _labelled(targets: Any, where: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    good = isinstance(targets, dict) and {"choices", "labels"} <= targets.keys()
    answers = list(targets["choices"]) if good else []
    labels = list(targets["labels"]) if good else []
    if len(answers) != len(labels) or not all(isinstance(a, str) and a.strip() for a in answers):
        raise UserError(f'{where} needs as many "labels" as "choices", which are texts')
    return _checked(answers, [bool(label) for label in labels], where)


def _numbered(row: Row, where: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    answers, answer = list(row["choices"]), row.get("answer")
    good = type(answer) is int and 0 <= answer < len(answers) <= len(LETTERS)
    if not good or not all(isinstance(text, str) and text.strip() for text in answers):
        raise UserError(
            f'{where}: "choices" must be up to {len(LETTERS)} texts and "answer" the index of the '
            "right one, counted from 0"
        )
    return _checked(answers, [index == answer for index in range(len(answers))], where)


def _checked(answers: list[str], right: list[bool], where: str):
    if not any(right) or all(right):
        raise UserError(f"{where}: needs a right answer and a wrong one; mend the row")
    return tuple(answers), tuple(right)
