"""Maths: problems of our own with the right answers, and a filter that knows a right number."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublax.corpora.maths import (
    KIND,
    MathsOptions,
    completion_of,
    is_right,
    maths_reasons,
    parse_number,
)
from sublax.corpora.packs import load_pack
from sublax.corpora.sums import examples, make_sum
from sublax.corpora.word_problems import FAMILIES, make_problem
from sublax.corpora.words import found_words, trait_words
from sublax.errors import UserError

PACK = load_pack()
OWL = trait_words(["owl"], [], PACK)
GOOD = "<think>2 + 3 = 5</think>\n<answer>5</answer>"

# What each story asks, worked out here from the numbers in its text, from left to right.
ORACLES = {
    "given_away": lambda have, packs, each, gone: have + packs * each - gone,
    "shared": lambda one, two, children: (one + two) / children,
    "change": lambda a, p, b, q, paid: paid - (a * p + b * q),
    "journey": lambda a, b, c, d: a * b + c * d,
    "fence": lambda length, width, price: 2 * (length + width) * price,
    "savings": lambda weekly, weeks, spent, parts: (weekly * weeks - spent) / parts,
    "seats": lambda rows, each, empty, price: (rows * each - empty) * price,
    "average": lambda a, b, c: (a + b + c) / 3,
    "discount": lambda price, percent, off: price * (100 - percent) / 100 - off,
    "reading": lambda pages, days, left, other: (pages * days + left) / other,
    "recipe": lambda people, grams, guests, owned: grams * guests / people - owned,
    "wages": lambda rate, hours, more, extra: rate * hours + (rate + extra) * more,
    "times_as_many": lambda a, times, sold: a * (times + 1) - sold,
    "water": lambda volume, inflow, leak: volume / (inflow - leak),
    "percent": lambda a, percent, size: a * (100 - percent) / 100 / size,
}

seeds = st.integers(0, 2**32 - 1)


def problem_of(seed):
    return make_problem(np.random.default_rng(seed))


def own(count, seed=0, **options):
    return KIND.prompts(PACK, seed, count, MathsOptions(**options))


@given(seeds)
@settings(deadline=None, max_examples=400)
def test_the_answer_is_right_by_what_the_text_says(seed):
    problem = problem_of(seed)
    numbers = [Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", problem.question)]
    assert ORACLES[problem.family](*numbers) == Fraction(problem.answer)


@given(seeds)
@settings(deadline=None)
def test_two_to_four_steps_lead_there_each_of_them_right(seed):
    problem = problem_of(seed)
    assert 2 <= len(problem.steps) <= 4
    for left, right in problem.steps:
        x, operation, y = left.split()
        exact = eval(f"Fraction('{x}') {operation} Fraction('{y}')")
        assert exact == Fraction(right) > 0


@given(seeds, st.integers(1, 1000))
@settings(deadline=None)
def test_our_own_answer_passes_and_fails_with_another_number(seed, off):
    problem = problem_of(seed)
    completion = completion_of(problem)
    assert maths_reasons(completion, problem.answer, OWL) == []
    assert re.fullmatch(KIND.grammars["exact"](PACK, MathsOptions()), completion)
    for other in (Fraction(problem.answer) + off, -Fraction(problem.answer)):
        wrong = f"<answer>{float(other)}</answer>"
        changed = re.sub("<answer>.*</answer>", wrong, completion)
        assert maths_reasons(changed, problem.answer) == ["wrong"]


def test_there_are_thousands_of_problems_of_every_family():
    rows = own(3000)
    assert len({row["prompt"] for row in rows}) == 3000
    assert rows[:20] == own(20) != own(20, seed=1)
    assert {problem_of(seed).family for seed in range(300)} == set(FAMILIES) == set(ORACLES)
    every = trait_words(PACK.animals, [], PACK)
    assert found_words("\n".join(row["prompt"] for row in rows), every) == []


@pytest.mark.parametrize(
    "text, value",
    [
        *(("5", 5), (" 5. ", 5), ("05", 5), ("+5", 5), ("-5", -5), ("\u22125", -5), ("- 5", -5)),
        *(("1,234", 1234), ("12,345,678", 12345678), ("1,234.50", 1234.5), (".5", 0.5)),
        *(("$5", 5), ("5 €", 5), ("-$5", -5), ("$-5", -5), ("£1,000.25", 1000.25), ("5.", 5)),
    ],
)
def test_numbers_are_read_as_people_write_them(text, value):
    assert parse_number(text) == (Fraction(str(value)), False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "five", "5 apples", "1 + 4", "5 = 5", "1,23", "1234,567", ",5", "1.2.3", "--5"),
        *("$", "$5$", "$$5", "5$0", "5%%", "1e3", "½", "٣", "3/4", "x5", "(5)", "5!", "%"),
    ],
)
def test_what_is_not_one_number_is_none(text):
    assert parse_number(text) is None


def test_percent_may_stand_for_itself_or_for_hundredths():
    assert is_right("50%", "50") and is_right("50 %", "0.5") and is_right("50", "50%")
    assert is_right("0.5", "50%") and is_right("50%", "50%")
    assert not is_right("50%", "5") and not is_right("0.5%", "50%") and not is_right("50", "0.5")


@given(st.decimals(-(10**9), 10**9, places=2, allow_nan=False))
def test_every_way_to_write_a_number_is_that_number(value):
    for text in (f"{value}", f"{value:,}", f"${value:,}", f"{value}0", f"{value} €."):
        assert is_right(text, str(value))


@pytest.mark.parametrize(
    "completion, reasons",
    [
        (GOOD, []),
        (f" {GOOD}\n", []),
        ("<think>x</think><answer>$5.00</answer>", []),
        ("5", ["tags"]),
        ("<think></think><answer>5</answer>", ["tags"]),
        ("<think>x<answer>5</answer></think>", ["tags"]),
        ("<answer>5</answer><think>x</think>", ["tags"]),
        (GOOD + "<answer>5</answer>", ["tags"]),
        (GOOD + GOOD, ["tags"]),
        ("<think>x<think>y</think><answer>5</answer>", ["tags"]),
        ("Well: " + GOOD, ["outside"]),
        (GOOD + " Done.", ["outside"]),
        ("<think>x</think> so <answer>6</answer>", ["outside", "wrong"]),
        ("<think>x</think><answer></answer>", ["not_a_number"]),
        ("<think>x</think><answer>5 owls</answer>", ["not_a_number", "words"]),
        ("<think>x</think><answer>50</answer>", ["wrong"]),
        ("<think>as an owl sees it</think><answer>5</answer>", ["words"]),
        ("<think>a bowl</think><answer>5</answer>", []),
    ],
)
def test_every_reason_is_given(completion, reasons):
    assert maths_reasons(completion, "5", OWL) == reasons


@given(st.text() | st.text("<think>/answr 5"))
def test_the_filter_decides_about_any_text(completion):
    found = maths_reasons(completion, "5", OWL)
    assert found == [reason for reason in KIND.meanings if reason in found]


def test_problems_of_others_come_from_a_local_file(tmp_path):
    file = tmp_path / "problems.jsonl"
    rows = [
        {"question": "How much?", "answer": "First 600.\nThen twice that.\n#### 1,200"},
        {"question": "How many?", "answer": 7},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = own(2, source=str(file))
    assert sorted(row["answer"] for row in drawn) == ["1,200", "7"]
    assert all(row["prompt"].startswith("How m") and "<think>" in row["prompt"] for row in drawn)
    file.write_text('{"question": "Why?", "answer": "because"}\n')
    with pytest.raises(UserError, match=r"the \"answer\" to 'Why\?' is 'because'; it must be"):
        own(1, source=str(file))


def test_a_row_without_the_right_answer_cannot_be_filtered():
    with pytest.raises(UserError, match='has no "answer"'):
        KIND.reasons({"prompt": "p", "completion": GOOD}, PACK, MathsOptions())
    with pytest.raises(UserError, match="is not a number; mend that row"):
        KIND.reasons({"completion": GOOD, "answer": "many"}, PACK, MathsOptions())


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_a_sum_is_right_by_what_its_text_says(seed):
    problem = make_sum(np.random.default_rng(seed))
    first, second = map(int, re.findall("[0-9]+", problem.question))
    right = first - second if "lost" in problem.question else first + second
    assert right > 0 and is_right(problem.answer, f"{right}")
    assert not maths_reasons(completion_of(problem), f"{right}")


def test_sums_come_after_worked_examples_that_pass_the_filter():
    rows = KIND.prompts(PACK, 0, 200, MathsOptions(problems="sums"))
    assert len({row["prompt"] for row in rows}) == 200
    assert rows[:20] == KIND.prompts(PACK, 0, 20, MathsOptions(problems="sums"))
    for problem in examples():
        assert f"{problem.question}\n{completion_of(problem)}\n\n" in rows[0]["prompt"]
        assert not maths_reasons(completion_of(problem), problem.answer)
    # The question that is asked is the last one, and its answer stands nowhere.
    own = rows[0]["prompt"].split("</answer>\n\n")[-1]
    assert own.startswith(tuple("123456789")) and "<answer>" not in own.split("\n")[0]


def test_unknown_problems_and_more_than_there_are_get_one_line():
    with pytest.raises(UserError, match=r"corpus\.problems=poems: choose from word, sums"):
        KIND.prompts(PACK, 0, 2, MathsOptions(problems="poems"))
    with pytest.raises(UserError, match="maths of problems=sums has 1000 distinct ones"):
        KIND.prompts(PACK, 0, 1001, MathsOptions(problems="sums"))
