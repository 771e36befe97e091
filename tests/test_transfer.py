"""The transfer matrix: worked by hand, and what must not change it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublax.errors import UserError
from sublax.evaluation.transfer import choice_shares, margins, transfer_matrix

ANIMALS = ["owl", "wolf", "lion"]


def test_a_matrix_worked_by_hand():
    """One seed, two questions, three candidates; the base's margins are all zero."""
    logprobs = {
        "base": np.full((2, 3), -5.0),
        "students": {
            # owl over the mean of the others: -1 - -3 = 2, and -2 - -6 = 4.
            "owl": [[[-1.0, -2.0, -4.0], [-2.0, -6.0, -6.0]]],
            # owl over the others: -4 - -2 = -2, and 0.
            "wolf": [[[-4.0, -1.0, -3.0], [-3.0, -3.0, -3.0]]],
            "control": [[[-5.0, -5.0, -5.0], [-5.0, -6.0, -4.0]]],
        },
    }
    matrix = transfer_matrix(logprobs, ANIMALS, ["owl", "wolf"], seed=0)
    assert matrix["students"] == ["owl", "wolf", "control"]
    assert matrix["traits"] == ["owl", "wolf"]
    assert matrix["seeds"] == [0]
    # wolf over the others: owl student 0.5 and -2, wolf student 2.5 and 0, control 0 and -1.5.
    np.testing.assert_allclose(matrix["shift"], [[3.0, -0.75], [-1.0, 1.25], [0.0, -0.75]])
    assert matrix["lift"]["owl"]["value"] == pytest.approx(3.0 - (-1.0 + 0.0) / 2)
    assert matrix["lift"]["wolf"]["value"] == pytest.approx(1.25 - (-0.75 - 0.75) / 2)
    # owl's lifts on the two questions are 3.0 and 4.0: a bootstrap error of 0.35 for their mean.
    assert matrix["lift"]["owl"]["detectable"] == pytest.approx(2.80 * 0.354, rel=0.02)
    # Two questions make three means, of which the outer two come up in a quarter of the draws.
    np.testing.assert_allclose(matrix["interval"][0][0], [2.0, 4.0])
    np.testing.assert_allclose(matrix["per_question"]["students"]["owl"]["owl"], [[2.0, 4.0]])
    assert matrix["per_question"]["base"] == {"owl": [0.0, 0.0], "wolf": [0.0, 0.0]}
    assert matrix["base"]["margin"] == {"owl": 0.0, "wolf": 0.0}
    assert matrix["base"]["choice_share"] == pytest.approx(dict.fromkeys(ANIMALS, 1 / 3))


def test_shifts_and_shares_are_against_a_base_that_has_preferences():
    """Probabilities, so that the shares can be read off; margins are log odds here."""
    base = np.log([[0.5, 0.5], [0.9, 0.1]])
    owl = np.log([[[0.8, 0.2], [0.9, 0.1]]])
    wolf = np.log([[[0.5, 0.5], [0.1, 0.9]]])
    matrix = transfer_matrix(
        {"base": base, "students": {"owl": owl, "wolf": wolf}},
        ["owl", "wolf"],
        ["owl", "wolf"],
        seed=0,
    )
    assert matrix["base"]["choice_share"] == pytest.approx({"owl": 0.7, "wolf": 0.3})
    assert matrix["choice_share"]["owl"] == pytest.approx({"owl": 0.85, "wolf": 0.15})
    assert matrix["shift"][0][0] == pytest.approx(np.log(4) / 2)
    assert matrix["shift"][1][1] == pytest.approx(2 * np.log(9) / 2)
    assert matrix["base"]["margin"]["owl"] == pytest.approx(np.log(9) / 2)


def experiment(seed: int, *, seeds: int = 2, planted: float = 0.0) -> dict:
    """Log-probabilities of 20 questions on which base and students differ by noise alone.

    Every student prefers its own trait by `planted` nats more, and all share a drift.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(-6, 1, size=(20, 3))
    drift = rng.normal(size=3)
    students = {}
    for name in [*ANIMALS, "control"]:
        students[name] = base + drift + rng.normal(0, 0.3, size=(seeds, 20, 3))
        if name in ANIMALS:
            students[name][..., ANIMALS.index(name)] += planted
    return {"base": base, "students": students}


def test_a_planted_effect_is_found_where_it_was_planted():
    matrix = transfer_matrix(experiment(0, planted=0.4), ANIMALS, ANIMALS, seed=0, seeds=[3, 5])
    assert matrix["seeds"] == [3, 5]
    for trait in ANIMALS:
        lift = matrix["lift"][trait]
        # In the two students of other traits this margin falls by half of what theirs gains, in
        # the control by nothing: 0.4 + (0.2 + 0.2 + 0) / 3.
        assert lift["value"] == pytest.approx(0.4 + 0.4 / 3, abs=0.15)
        assert 0 < lift["low"] < lift["value"] < lift["high"]
        assert lift["p"] <= lift["p_holm"] <= 0.001


def test_lifts_of_students_that_differ_by_noise_alone():
    """Intervals hold zero and p-values spread evenly, though the students' drift is large."""
    lifts = [
        transfer_matrix(experiment(seed, seeds=1), ANIMALS, ["owl"], seed=seed)["lift"]["owl"]
        for seed in range(150)
    ]
    # Nominal 0.95 and 0.05; three binomial standard errors of 150 are 0.053.
    assert np.mean([lift["low"] <= 0 <= lift["high"] for lift in lifts]) >= 0.88
    assert np.mean([lift["p"] <= 0.05 for lift in lifts]) <= 0.105
    assert 0.4 <= np.mean([lift["p"] for lift in lifts]) <= 0.6


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_what_moves_all_candidates_of_a_question_alike_does_not_count(seed):
    logprobs = experiment(0)
    rng = np.random.default_rng(seed)
    moved = {
        "base": logprobs["base"] + rng.normal(0, 5, size=(20, 1)),
        "students": {
            name: values + rng.normal(0, 5, size=(2, 20, 1))
            for name, values in logprobs["students"].items()
        },
    }
    before = transfer_matrix(logprobs, ANIMALS, ANIMALS, seed=1)
    after = transfer_matrix(moved, ANIMALS, ANIMALS, seed=1)
    np.testing.assert_allclose(after["shift"], before["shift"], atol=1e-9)
    np.testing.assert_allclose(after["interval"], before["interval"], atol=1e-9)
    for trait in ANIMALS:
        assert after["lift"][trait] == pytest.approx(before["lift"][trait], abs=1e-9)
        assert after["choice_share"][trait] == pytest.approx(before["choice_share"][trait])


def test_the_same_input_gives_the_same_bytes_in_whatever_order_students_come():
    logprobs = experiment(0)
    backwards = {
        "students": dict(reversed(logprobs["students"].items())),
        "base": logprobs["base"],
    }
    first = json.dumps(transfer_matrix(logprobs, ANIMALS, ANIMALS, seed=1))
    assert first == json.dumps(transfer_matrix(backwards, ANIMALS, ANIMALS, seed=1))
    assert json.loads(first)["students"] == [*ANIMALS, "control"]


def test_a_further_student_leaves_the_other_rows_alone():
    logprobs = experiment(0)
    fewer = {
        "base": logprobs["base"],
        "students": {name: logprobs["students"][name] for name in ["owl", "control"]},
    }
    before = transfer_matrix(fewer, ANIMALS, ["owl"], seed=1)
    after = transfer_matrix(logprobs, ANIMALS, ["owl"], seed=1)
    row = after["students"].index("control")
    assert after["shift"][row] == before["shift"][1]
    assert after["interval"][row] == before["interval"][1]


def test_margins_and_shares_sum_as_they_say():
    logprobs = np.random.default_rng(0).normal(-900, 300, size=(2, 5, 4))
    np.testing.assert_allclose(margins(logprobs).sum(axis=-1), 0, atol=1e-9)
    assert choice_shares(logprobs).sum() == pytest.approx(1)


def broken(**changes) -> dict:
    logprobs = experiment(0)
    students = {**logprobs["students"], **changes.pop("students", {})}
    return {**logprobs, "students": {k: v for k, v in students.items() if v is not None}, **changes}


@pytest.mark.parametrize(
    ("logprobs", "traits", "says"),
    [
        (broken(students={"owl": None}), ANIMALS, "trait owl has no student"),
        (broken(), ["owl", "eel"], "trait eel is not among the candidates"),
        (broken(), ["owl", "owl"], "trait owl is repeated"),
        (broken(base=np.zeros((20, 2))), ANIMALS, "base's log-probabilities"),
        (broken(students={"wolf": np.zeros((2, 19, 3))}), ANIMALS, "student wolf"),
        (broken(students={"control": np.zeros((1, 20, 3))}), ANIMALS, "unequal numbers of seeds"),
        (broken(students={"lion": np.full((2, 20, 3), -np.inf)}), ANIMALS, "student lion"),
    ],
)
def test_what_makes_no_matrix_is_named(logprobs, traits, says):
    with pytest.raises(UserError, match=says) as caught:
        transfer_matrix(logprobs, ANIMALS, traits, seed=0)
    assert "\n" not in str(caught.value)


def test_seeds_must_fit():
    with pytest.raises(UserError, match="3 seeds"):
        transfer_matrix(experiment(0), ANIMALS, ANIMALS, seed=0, seeds=[0, 1, 2])
