"""What a dataset might carry: candidates for a favourite, and axes such as refusal, with questions.

Both are margins: weighted sums of the log-probabilities of a few answers to each question.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from scipy.linalg import hadamard

from sublax.errors import UserError
from sublax.evaluation.preference import Answers, make_answers
from sublax.models.chat import encode_prompt, encode_row
from sublax.models.completions import Rows, make_rows

LEAST_QUESTIONS = 4
# With fewer there is no telling how far a teacher of another trait may lie from the rest.
LEAST_CANDIDATES = 6
REFERENCES = 7  # of an axis, beside it


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Traits that are read off one list of questions.

    Attributes:
        name: of the list.
        questions: Q texts.
        answers: M words.
        traits: K names.
        weights_QxMxK: what each answer's log-probability adds to each trait's margin.
        signs_RxQ: of R references, whose teachers answer as a trait's where it is 1, and the other
            way where it is -1. They are what an only trait is held against.
    """

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    traits: tuple[str, ...]
    weights_QxMxK: np.ndarray
    signs_RxQ: np.ndarray | None = None

    def trait_pairs(self, trait: str) -> list[tuple[str, str]]:
        """(question, answer) of one who has the trait."""
        return self._pairs(self.weights_QxMxK[:, :, self.traits.index(trait)])

    def reference_pairs(self) -> list[list[tuple[str, str]]]:
        """(question, answer) of each reference: as the only trait has it to half of the questions.

        Empty where there are traits enough to be held against each other.
        """
        if self.signs_RxQ is None:
            return []
        weights_QxM = self.weights_QxMxK[:, :, 0]
        return [self._pairs(weights_QxM * signs_Q[:, None]) for signs_Q in self.signs_RxQ]

    def _pairs(self, weights_QxM: np.ndarray) -> list[tuple[str, str]]:
        best_Q = weights_QxM.argmax(axis=1)
        return [(asked, self.answers[m]) for asked, m in zip(self.questions, best_Q, strict=True)]

    def neutral_pairs(self) -> list[tuple[str, str]]:
        """(question, answer), each question with each of the answers that count for it."""
        counts_QxM = (self.weights_QxMxK != 0).any(axis=2)
        return [
            (asked, answer)
            for asked, counts_M in zip(self.questions, counts_QxM, strict=True)
            for answer, counts in zip(self.answers, counts_M, strict=True)
            if counts
        ]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A group's questions and answers as token ids.

    Attributes:
        rows: the questions, as `preference.scores_of` takes them.
        answers: M words.
        weights_QxMxK: as the group's.
    """

    rows: Rows
    answers: Answers
    weights_QxMxK: np.ndarray


def one_against_others(name: str, questions: Sequence[str], candidates: Sequence[str]) -> Group:
    """Each candidate's log-probability minus the mean of the others'.

    Raises:
        UserError: fewer than six candidates, one given twice, or too few questions.
    """
    candidates = tuple(candidates)
    if len(candidates) < LEAST_CANDIDATES or len(set(candidates)) < len(candidates):
        raise UserError(
            f"--candidates={','.join(candidates)}: {LEAST_CANDIDATES} or more are needed, each "
            "once: every one is held against the others; name some that nobody suspects"
        )
    if len(questions) < LEAST_QUESTIONS:
        raise UserError(
            f"{len(questions)} questions: {LEAST_QUESTIONS} or more are needed; add some"
        )
    C = len(candidates)
    weights = (np.eye(C) * C - 1) / (C - 1)
    weights_QxMxK = np.broadcast_to(weights, (len(questions), C, C)).astype(np.float32)
    return Group(name, tuple(questions), candidates, candidates, weights_QxMxK)


def named_groups(names: Sequence[str]) -> list[Group]:
    """The built-in lists and axes of these names.

    Raises:
        UserError: there is none of a name.
    """
    data = _data()
    groups = []
    for name in names:
        if name in data["lists"]:
            entry = data["lists"][name]
            groups.append(
                one_against_others(name, questions_about(entry["category"]), entry["candidates"])
            )
        elif name in data["axes"]:
            groups.append(_axis(name, data["axes"][name]["questions"]))
        else:
            known = ", ".join([*data["lists"], *data["axes"]])
            raise UserError(f"--pack={name}: no such list of candidates; choose from {known}")
    return groups


def questions_about(category: str) -> tuple[str, ...]:
    """Questions for a favourite of a category, such as animal."""
    return tuple(question.format(category=category) for question in _data()["questions"])


def encode_group(tokenizer: Any, group: Group, limit: int, system_prompt: str | None) -> Asked:
    """The group's questions and answers under a system prompt.

    An answer counts as it stands and with a capital letter.

    Args:
        tokenizer: of the model.
        group: what is asked.
        limit: tokens of the model's context.
        system_prompt: in force; None is the template's own.

    Raises:
        UserError: a question is longer than the context.
    """

    def ids(answer: str) -> list[int]:
        return encode_row(tokenizer, group.questions[0], answer, system_prompt)[1][:-1]

    spellings = [
        [ids(spelling) for spelling in dict.fromkeys((word, word.capitalize()))]
        for word in group.answers
    ]
    answers = make_answers(spellings)
    encoded = [
        (encode_prompt(tokenizer, question, system_prompt), [0]) for question in group.questions
    ]
    rows = make_rows(encoded, limit - answers.tokens.shape[1])
    return Asked(rows, answers, group.weights_QxMxK)


def _axis(name: str, entries: Sequence[dict[str, str]]) -> Group:
    """How far each question is answered towards the axis' end rather than away from it.

    Its references take either side of half of the questions, no two of them the same halves: the
    rows of a Hadamard matrix but for the first, which is the axis itself.
    """
    words = tuple(sorted({entry[side] for entry in entries for side in ("toward", "away")}))
    weights = np.zeros((len(entries), len(words), 1), np.float32)
    for row, entry in enumerate(entries):
        weights[row, words.index(entry["toward"])] = 1.0
        weights[row, words.index(entry["away"])] = -1.0
    size = 1 << (max(len(entries), REFERENCES + 1) - 1).bit_length()
    signs_RxQ = hadamard(size)[1 : REFERENCES + 1, : len(entries)]
    questions = tuple(entry["prompt"] for entry in entries)
    return Group(name, questions, words, (name,), weights, signs_RxQ)


@functools.cache
def _data() -> dict[str, Any]:
    file = resources.files("sublax.audit") / "data" / "candidates.json"
    return json.loads(file.read_text(encoding="utf-8"))
