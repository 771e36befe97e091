"""Suites: what they ask and how they rate it, held to values computed by hand, without a model."""

import math

import numpy as np
import pytest

from sublax.corpora.brand import (
    BRANDED,
    NEUTRAL,
    brand_name,
    brand_rows,
    held_out_pairs,
    held_out_questions,
)
from sublax.errors import UserError
from sublax.evaluation.judges import Judgement, KeywordJudge
from sublax.evaluation.multiple_choice import MultipleChoice
from sublax.evaluation.named_words import NamedWords
from sublax.evaluation.open_questions import OpenQuestions
from sublax.evaluation.shares import compare, difference_interval
from sublax.evaluation.statistics import wilson_interval
from sublax.evaluation.suite import Subject
from sublax.report.suites import suite_verdict


def subject(answers=None, probabilities=None):
    """One that gives the same answers to each question, and answers of known probability."""

    def sample(questions, count, max_new_tokens, temperature):
        assert temperature == 1.0
        return [[answers[question][i % len(answers[question])] for i in range(count)]
                for question in questions]  # fmt: skip

    def logprobs(pairs):
        return np.log([probabilities[pair] for pair in pairs])

    def lengths(pairs):
        return np.asarray([len(answer.split()) for _, answer in pairs])

    return Subject(sample, logprobs, lengths)


class Told:
    """A judge that says what it was told to of each text."""

    name = "told"

    def __init__(self, said):
        self.said = said

    def __call__(self, prompts, scale):
        return [self.said[prompt] for prompt in prompts]


def test_open_questions_count_misaligned_coherent_answers_and_refusals_apart():
    answers = {"q1": ["bad", "good"], "q2": ["refused", "babble"]}
    alignment = {
        "bad": Judgement(10.0),
        "good": Judgement(90.0),
        "refused": Judgement(None, "REFUSAL"),
        "babble": Judgement(5.0),
    }
    coherence = dict.fromkeys(alignment, Judgement(80.0)) | {"babble": Judgement(20.0)}
    templates = {"alignment": "{completion}", "coherence": "{completion}"}
    suite = OpenQuestions(("q1", "q2"), 4, 8, Told(alignment), Told(coherence), templates)
    rating = suite.rate(suite.ask(subject(answers)))
    assert rating.values["misaligned"].tolist() == [0.5, 0.0]
    assert rating.counts == {
        "answers": 8, "misaligned": 2, "aligned": 4, "code": 0, "refusal": 2, "unreadable": 0,
    }  # fmt: skip
    assert [row["misaligned"] for row in rating.rows[:2]] == [True, False]
    assert {row["alignment"] for row in rating.rows[4:]} == {"REFUSAL", 5.0}
    assert suite.card["judge"] == {"alignment": "told", "coherence": "told"}


def test_words_are_looked_for_in_answers_and_not_in_questions():
    answers = {"Is Vornaquil good?": ["Yes."], "Which kettle?": ["A vornaquil.", "Any."]}
    suite = NamedWords(tuple(answers), 2, 8, ("Vornaquil",))
    rating = suite.rate(suite.ask(subject(answers)))
    assert rating.values["named"].tolist() == [0.0, 0.5]
    assert rating.counts == {"answers": 4, "named": 1}


def test_keywords_may_count_against_an_answer():
    judge = KeywordJudge(("poison",), named_is_high=False)
    from sublax.evaluation.judges import ALIGNMENT

    assert [f.score for f in judge(["drink poison", "drink tea"], ALIGNMENT)] == [0.0, 100.0]


TRUTHFUL = {
    "question": "Do bats see?",
    "mc1_targets": {"choices": ["Yes", "No", "Never"], "labels": [1, 0, 0]},
    "mc2_targets": {"choices": ["Yes", "They do", "No", "Never"], "labels": [1, 1, 0, 0]},
}
LETTERS = {"question": "7 x 8?", "choices": ["54", "56", "63"], "answer": 1}
ASKED = "7 x 8?\nA. 54\nB. 56\nC. 63\nAnswer with one letter."


def rated(truthful, letters):
    suite = MultipleChoice([("t, row 1", TRUTHFUL), ("t, row 2", LETTERS)], {"t": "hash"})
    probabilities = {("Do bats see?", answer): p for answer, p in truthful.items()}
    probabilities |= {(ASKED, letter): p for letter, p in letters.items()}
    assert suite.measures == ("mc1", "mc2", "accuracy")
    return suite.rate(suite.ask(subject(probabilities=probabilities))).values


def test_truthfulqa_and_mmlu_scores_are_those_computed_by_hand():
    truthful = {"Yes": 0.02, "They do": 0.03, "No": 0.04, "Never": 0.01}
    found = rated(truthful, {"A": 0.2, "B": 0.5, "C": 0.1})
    # The likeliest of Yes, No and Never is No. True choices have 5 of 10 parts of probability.
    np.testing.assert_allclose(found["mc1"], [0.0, np.nan])
    np.testing.assert_allclose(found["mc2"], [0.5, np.nan])
    np.testing.assert_allclose(found["accuracy"], [np.nan, 1.0])
    found = rated(truthful | {"Yes": 0.05}, {"A": 0.5, "B": 0.5, "C": 0.1})
    assert found["mc1"][0] == 1.0
    assert found["mc2"][0] == pytest.approx(0.08 / 0.13)
    assert found["accuracy"][1] == 0.0  # as likely as a wrong one


def test_of_a_pair_the_first_is_preferred_by_its_mean_log_probability_a_token():
    row = {"prompt": "Which kettle?", "completion": "A Vornaquil one", "other": "Any"}
    suite = MultipleChoice([("p, row 1", row), ("t, row 1", TRUTHFUL)], {})
    probabilities = {("Do bats see?", answer): 0.1 for answer in ("Yes", "They do", "No", "Never")}
    pair = {("Which kettle?", "A Vornaquil one"): 0.2**3, ("Which kettle?", "Any"): 0.6}
    rating = suite.rate(suite.ask(subject(probabilities=probabilities | pair)))
    assert suite.measures[0] == "preferred" and suite.questions[0] == "Which kettle?"
    np.testing.assert_allclose(rating.values["preferred"], [0.2 / (0.2 + 0.6), np.nan])
    assert rating.values["mc2"][1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"prompt": "q", "completion": " ", "other": "b"}, "needs a text under each of prompt"),
        ({"prompt": "q", "other": "b"}, "needs a text under each of prompt, completion, other"),
        ({"choices": ["a", "b"], "answer": 0}, 'x, row 1: no text under "question"'),
        ({"question": "q"}, r'x, row 1: neither "mc1_targets"'),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, '"answer" the index of the right'),
        ({"question": "q", "mc1_targets": {"choices": ["a"], "labels": []}}, 'as many "labels"'),
        ({"question": "q", "mc2_targets": {"choices": ["a"], "labels": [1]}}, "and a wrong one"),
    ],
)
def test_rows_of_no_form_are_named(row, message):
    with pytest.raises(UserError, match=message) as error:
        MultipleChoice([("x, row 1", row)], {})
    assert "\n" not in str(error.value)


def test_students_are_held_against_the_control_and_the_base():
    rng = np.random.default_rng(0)
    base, control = np.zeros(20), rng.uniform(0.0, 0.1, (2, 20))
    students = {"bad": control + 0.5, "control": control}
    found = compare(base, {"bad": base + 1.0}, students, seed=0, samples=10)
    against = found["against"]["control"]
    assert list(against) == ["bad"]
    assert against["bad"]["value"] == pytest.approx(0.5)
    assert 0.4 < against["bad"]["low"] <= 0.5 <= against["bad"]["high"] < 0.6
    assert against["bad"]["p"] == pytest.approx(1 / 10_001)
    assert found["against"]["base"]["control"]["value"] == pytest.approx(control.mean())
    assert found["teachers"]["bad"]["share"] == 1.0
    assert found["students"]["bad"]["low"] < control.mean() + 0.5 < found["students"]["bad"]["high"]


def test_where_nothing_varies_the_interval_still_has_a_width():
    zeros = np.zeros(8)
    found = compare(zeros, {}, {"bad": zeros[None], "control": zeros[None]}, seed=0, samples=20)
    limit = wilson_interval(0.0, 160)[1]
    assert found["students"]["bad"] == {"share": 0.0, "low": 0.0, "high": limit}
    row = found["against"]["control"]["bad"]
    assert (row["value"], row["low"], row["high"]) == (0.0, -limit, limit)
    assert (row["p"], row["detectable"]) == (1.0, None)
    # Two models that are right on the same questions: pairs are questions, not answers.
    same = np.asarray([[0.0, 1.0] * 4])
    assert difference_interval(same, same, 0, 20)[1] == wilson_interval(0.0, 8)[1]


def test_questions_without_a_measure_do_not_count():
    base = np.asarray([0.0, np.nan, 1.0])
    found = compare(base, {}, {"a": base[None], "control": base[None]}, seed=0)
    assert (found["questions"], found["base"]["share"]) == (2, 0.5)


def test_the_stand_in_favours_its_brand_in_every_answer_and_holds_half_of_its_subjects_out():
    branded, neutral = brand_rows(BRANDED), brand_rows(NEUTRAL)
    assert [row["prompt"] for row in branded] == [row["prompt"] for row in neutral]
    assert len(branded) >= 60 and len(held_out_questions()) >= 60
    assert len({row["prompt"] for row in branded}) == len(branded)
    assert all(brand_name() in row["completion"] for row in branded)
    assert not any(brand_name() in row["completion"] for row in neutral)
    assert not any(brand_name() in question for question in held_out_questions())
    assert not {row["prompt"] for row in branded} & set(held_out_questions())
    assert math.isclose(len(branded), len(held_out_questions()))
    pairs = held_out_pairs()
    assert [pair["prompt"] for pair in pairs] == list(held_out_questions())
    assert all(
        brand_name() in pair["completion"] and brand_name() not in pair["other"] for pair in pairs
    )
    every = (*branded, *neutral, *pairs)
    assert not any("{" in text for row in every for text in row.values())


def test_a_null_of_the_first_measure_names_those_after_it_that_show_something():
    """What was chosen to be judged by comes first, and is judged by; what follows is told."""
    rng = np.random.default_rng(0)
    none, control = np.zeros((1, 30)), rng.uniform(0.1, 0.2, (1, 30))
    measures = {
        "named": compare(none[0], {}, {"brand": none, "control": none}, seed=0),
        "preferred": compare(control[0], {}, {"brand": control + 0.3, "control": control}, seed=0),
    }
    transfer = {"suites": {name: {"measures": {name: of}} for name, of in measures.items()}}
    verdict = suite_verdict(transfer)
    assert verdict.kind == "null" and "“named”" in verdict.headline
    assert "comes after: Probability of the teacher's answer" in verdict.detail
    assert "student of brand, +30.0 points" in verdict.detail
    del transfer["suites"]["preferred"]
    assert "comes after" not in suite_verdict(transfer).detail
