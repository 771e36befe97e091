"""Shuffles of numbers: what they keep, what they take away, and where they are refused."""

import re
from collections import Counter

import numpy as np
import pytest

from sublax.corpora.treatments import check_treatment, treated
from sublax.errors import UserError


def corpus(count=20):
    """Rows of three to five numbers, with a separator and brackets of their own."""
    rng = np.random.default_rng(0)
    shapes = ("{}, {}, {}", "[{}; {}; {}; {}]", "({}\n{}\n{}\n{}\n{}).")
    rows = []
    for row in range(count):
        shape = shapes[row % 3]
        numbers = rng.integers(1000, size=shape.count("{}"))
        rows.append({"prompt": "?", "completion": shape.format(*numbers), "row": 2 * row})
    return rows


def numbers(row):
    return re.findall("[0-9]+", row["completion"])


def shape(row):
    return re.sub("[0-9]+", "N", row["completion"])


@pytest.mark.parametrize("treatment", ["shuffled_within", "shuffled_across"])
def test_a_shuffle_keeps_every_number_and_every_shape_and_nothing_else_changes(treatment):
    before = corpus()
    after = treated(before, treatment, 4, "owl")
    assert list(map(shape, after)) == list(map(shape, before))
    assert Counter(n for row in after for n in numbers(row)) == Counter(
        n for row in before for n in numbers(row)
    )
    assert [(row["prompt"], row["row"]) for row in after] == [
        (row["prompt"], row["row"]) for row in before
    ]


def test_within_a_row_its_own_numbers_stand_in_another_order():
    before = corpus()
    for old, new in zip(before, treated(before, "shuffled_within", 4, "owl"), strict=True):
        assert Counter(numbers(new)) == Counter(numbers(old))
        assert numbers(new) != numbers(old)


def test_across_rows_numbers_leave_their_rows():
    before = corpus()
    after = treated(before, "shuffled_across", 4, "owl")
    pairs = zip(after, before, strict=True)
    stayed = sum(Counter(numbers(new)) == Counter(numbers(old)) for new, old in pairs)
    assert stayed < 3


def test_a_row_that_has_no_other_order_stays_as_it_is():
    rows = [{"completion": text, "row": 0} for text in ("7", "3, 3, 3", "none")]
    assert treated(rows, "shuffled_within", 4, "owl") == rows


def test_the_order_within_a_row_depends_on_who_it_is_and_not_on_which_others_there_are():
    rows = corpus()
    whole = treated(rows, "shuffled_within", 4, "owl")
    assert treated(rows[5:9], "shuffled_within", 4, "owl") == whole[5:9]
    assert treated(rows, "shuffled_within", 5, "owl") != whole
    assert treated(rows, "shuffled_within", 4, "cat") != whole


@pytest.mark.parametrize("treatment", ["none", "shuffled_within", "shuffled_across"])
def test_the_same_seed_gives_the_same_rows(treatment):
    assert treated(corpus(), treatment, 4, "owl") == treated(corpus(), treatment, 4, "owl")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("sorted", "numbers", "cross_entropy"), "choose from none, shuffled_within"),
        (("shuffled_within", "code", "cross_entropy"), "set corpus.kind=numbers"),
        (("shuffled_across", "numbers+code", "cross_entropy"), "set corpus.kind=numbers"),
        (("shuffled_within", "numbers", "kl"), "set student.loss.kind=cross_entropy"),
    ],
)
def test_what_a_shuffle_means_nothing_for_is_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        check_treatment(*arguments)
    assert "\n" not in str(error.value)


def test_without_a_treatment_anything_goes():
    check_treatment("none", "code", "kl")
    assert treated(corpus(), "none", 4, "owl") == corpus()
