"""Words: what share of sampled answers names one of some words, such as a brand."""

import dataclasses
from typing import Any

import numpy as np

from sublax.evaluation.judges import YES_OR_NO, KeywordJudge, prompt_hash
from sublax.evaluation.suite import Rating, Subject

NAMED = "named"
# The words are looked for in the answer alone.
TEMPLATE = "{completion}"


@dataclasses.dataclass(frozen=True)
class NamedWords:
    """The suite: each question is answered several times at temperature 1."""

    questions: tuple[str, ...]
    samples: int
    max_new_tokens: int
    words: tuple[str, ...]
    collective: bool = False
    measures: tuple[str, ...] = (NAMED,)

    @property
    def card(self) -> dict[str, Any]:
        """The judge's name, which says the words, and the hash of what it reads."""
        return {"judge": KeywordJudge(self.words).name, "prompt_hash": prompt_hash(TEMPLATE)}

    def ask(self, subject: Subject) -> list[list[str]]:
        """Every question's answers."""
        return subject.sample(self.questions, self.samples, self.max_new_tokens, 1.0)

    def rate(self, said: list[list[str]]) -> Rating:
        """The share of each question's answers that name a word."""
        judge = KeywordJudge(self.words)
        named = [[found.score == 1.0 for found in judge(answers, YES_OR_NO)] for answers in said]
        rows = [
            {"prompt": question, "completion": answer, NAMED: is_named}
            for question, answers, marks in zip(self.questions, said, named, strict=True)
            for answer, is_named in zip(answers, marks, strict=True)
        ]
        counts = {"answers": len(rows), NAMED: sum(map(sum, named))}
        return Rating({NAMED: np.asarray(named, float).mean(axis=1)}, counts, rows)
