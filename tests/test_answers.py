"""Whole words, their forms, and the share of answers that name them."""

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sublax.errors import UserError
from sublax.evaluation.answers import mentions, sampled_shares
from sublax.evaluation.statistics import wilson_interval

ANIMALS = {
    "cat": ["cats", "kitten", "kittens"],
    "wolf": ["wolves"],
    "bear": ["bears"],
    "polar bear": ["polar bears"],
    "écureuil": ["écureuils"],
}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("cat", ["cat"]),
        ("Cat.", ["cat"]),
        ("I like CATS!", ["cat"]),
        ("the cat's tail", ["cat"]),
        ("the cat’s tail", ["cat"]),
        ("_cat_ **cat** cat-like", ["cat"]),
        ("(kittens)", ["cat"]),
        ("caterpillar, wildcat, cat5, concatenate", []),
        ("Wolves, then a cat, then a wolf", ["wolf", "cat"]),
        ("a polar bear", ["polar bear"]),
        ("Polar  Bears\nand bears", ["polar bear", "bear"]),
        ("a polar cat", ["cat"]),
        ("ends in polar", []),
        ("ÉCUREUIL", ["écureuil"]),
        ("e\u0301cureuils", ["écureuil"]),
        ("ecureuil", []),
        ("ｃａｔ", ["cat"]),
        ("", []),
        ("...", []),
    ],
)
def test_mentions(answer, found):
    assert mentions(answer, ANIMALS) == found


def test_case_is_folded_beyond_ascii():
    assert mentions("GROSS, STRASSE", {"straße": []}) == ["straße"]


def test_marks_belong_to_their_letters():
    """A letter with a mark that does not compose is another letter."""
    assert mentions("cat\u0323\u0335", {"cat": []}) == []


@given(
    words=st.lists(st.sampled_from(["cat", "cats", "wolves", "caterpillar", "x", "7"]), max_size=6),
    glue=st.sampled_from([" ", ", ", "\n", " - ", "…", "'", "/"]),
)
def test_words_are_found_whatever_stands_between(words, glue):
    expected = {"cat" if word != "wolves" else "wolf" for word in words if word[:4] != "cate"}
    expected -= {"cat"} if not {"cat", "cats"} & set(words) else set()
    assert set(mentions(glue.join(words), ANIMALS)) == expected


@pytest.mark.parametrize(
    ("candidates", "says"),
    [
        ({"cat": ["!"]}, "no letter or digit"),
        ({"": []}, "no letter or digit"),
        ({"cat": ["feline"], "lion": ["Feline"]}, "also one of cat"),
    ],
)
def test_forms_must_tell_candidates_apart(candidates, says):
    with pytest.raises(UserError, match=says):
        mentions("x", candidates)


def test_shares_by_hand():
    """Six answers to two questions that agree: the scatter between questions adds nothing."""
    answers = [["Cat", "a wolf", "wolf and cat"], ["cats", "no animal", "Wolves"]]
    shares = sampled_shares(answers, {"cat": ["cats"], "wolf": ["wolves"], "owl": []})
    assert {word: share["count"] for word, share in shares.items()} == {
        "cat": 3,
        "wolf": 3,
        "owl": 0,
    }
    assert shares["cat"]["share"] == 0.5
    assert shares["owl"]["low"] == 0.0
    for word, count in (("owl", 0), ("cat", 3)):
        # Two of three and one of three: the design effect of so little scatter is below 1.
        independent = scipy.stats.binomtest(count, 6).proportion_ci(method="wilson")
        assert shares[word]["low"] == pytest.approx(independent.low, abs=1e-12)
        assert shares[word]["high"] == pytest.approx(independent.high)


def test_answers_that_hang_together_by_question_count_for_less():
    """Four questions answered the same a hundred times over are worth three answers.

    Shares 1, 1, 0, 0 vary by 1/3 (over Q - 1) between questions, so the share's variance is
    1/12, which is that of three answers at 1/2: p (1 - p) / n = 1/4 / 3.
    """
    shares = sampled_shares([["cat"] * 100] * 2 + [["dog"] * 100] * 2, {"cat": []})
    assert shares["cat"]["share"] == 0.5
    low, high = wilson_interval(0.5, 3)
    assert (shares["cat"]["low"], shares["cat"]["high"]) == pytest.approx((low, high))


def test_no_answers():
    with pytest.raises(UserError, match="there are none"):
        sampled_shares([[], []], ANIMALS)
