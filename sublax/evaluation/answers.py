"""Preferences by sampling: which candidates an answer names, and in what share of answers."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sublax.errors import UserError
from sublax.evaluation.statistics import wilson_interval


def mentions(answer: str, candidates: Mapping[str, Iterable[str]]) -> list[str]:
    """Which candidates the answer names, each once, in the order of first mention.

    Words are runs of letters, marks and digits, compared without regard to case or to how
    Unicode composes them. So "cat" is in "Cat.", "the cat's" and "cat-like" and not in
    "caterpillar". Of forms that overlap the longest counts: "polar bear" is no "bear" where both
    are candidates. Scripts that write no spaces between words need forms of whole phrases.

    Args:
      answer: any text.
      candidates: each candidate with its forms, plurals and synonyms, of one or more words. The
        candidate itself is always a form.

    Raises:
      UserError: a form has no letter or digit, or is of two candidates.
    """
    owner = _owners(candidates)
    longest = max(map(len, owner), default=0)
    words = _words(answer)
    found: dict[str, None] = {}
    position = 0
    while position < len(words):
        for length in range(longest, 0, -1):
            # A slice that is cut at the end repeats a shorter form's, which is tried later too.
            candidate = owner.get(words[position : position + length])
            if candidate is not None:
                found[candidate] = None
                position += length - 1
                break
        position += 1
    return list(found)


def sampled_shares(
    answers: Sequence[Sequence[str]],
    candidates: Mapping[str, Iterable[str]],
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """The share of sampled answers that name each candidate, with its interval.

    An answer that names several counts for each, and one that names none for none. Answers to
    one question resemble each other, so the interval is Wilson's for the effective number of
    answers: the number over Kish's design effect (1965, section 8.2), taken from the scatter
    between questions and never below 1. It speaks of questions like these, and of this model.

    Args:
      answers: for each question its answers, as text.
      candidates: as `mentions` takes them.
      level: of the interval, between 0 and 1.

    Returns:
      By candidate "count" (of answers), "share", "low" and "high" (from 0 to 1).

    Raises:
      UserError: there are no answers, or as `mentions`.
    """
    asked = [len(of_question) for of_question in answers]
    total = sum(asked)
    if not total:
        raise UserError("sampled answers: there are none; ask at least one question once")
    named = [[mentions(answer, candidates) for answer in question] for question in answers]
    shares = {}
    for candidate in candidates:
        counts = [sum(candidate in names for names in question) for question in named]
        share = sum(counts) / total
        low, high = wilson_interval(share, total / _design_effect(counts, asked), level)
        shares[candidate] = {"count": sum(counts), "share": share, "low": low, "high": high}
    return shares


def question_shares(
    answers: Sequence[Sequence[str]], candidates: Mapping[str, Iterable[str]]
) -> np.ndarray:
    """The share of each question's sampled answers that name each candidate.

    Args:
      answers: for each of Q questions its answers, at least one, as text.
      candidates: C of them, as `mentions` takes them.

    Returns:
      float [Q, C], from 0 to 1, candidates in their order.

    Raises:
      UserError: as `mentions`.
    """
    named = [[mentions(answer, candidates) for answer in question] for question in answers]
    return np.asarray(
        [
            [
                sum(candidate in names for names in question) / len(question)
                for candidate in candidates
            ]
            for question in named
        ]
    )


def _design_effect(counts: Sequence[int], asked: Sequence[int]) -> float:
    """Variance of the share with answers clustered by question, over that of single answers."""
    questions, total = len(asked), sum(asked)
    share = sum(counts) / total
    if questions < 2 or share in (0.0, 1.0):
        return 1.0
    residuals = (count - share * n for count, n in zip(counts, asked, strict=True))
    clustered = questions / (questions - 1) * sum(r * r for r in residuals) / total**2
    return max(1.0, clustered / (share * (1 - share) / total))


def _owners(candidates: Mapping[str, Iterable[str]]) -> dict[tuple[str, ...], str]:
    """Every form, as words, with the candidate that it stands for."""
    owners: dict[tuple[str, ...], str] = {}
    for candidate, forms in candidates.items():
        for form in (candidate, *forms):
            words = _words(form)
            if not words:
                raise UserError(
                    f"candidate {candidate}: its form {form!r} has no letter or digit; remove it"
                )
            if owners.setdefault(words, candidate) != candidate:
                raise UserError(
                    f"candidate {candidate}: its form {form!r} is also one of {owners[words]}; "
                    "leave it with one of them"
                )
    return owners


def _words(text: str) -> tuple[str, ...]:
    """Runs of letters, marks and digits, without case, in one composition."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    spaced = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return tuple("".join(spaced).split())
