"""The temperature that rows were drawn at is found again; rows that nobody drew at one below 1."""

import numpy as np
import pytest
from test_audit_likelihood import FORM
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.own_answers import own_answers
from sublax.audit.temperature import ROWS, fitted_temperature, rows_to_fit
from sublax.models.decoder import Decoder

DECODER, PARAMS = Decoder(CONFIG), tiny_params()
PROMPTS = [([1, 2 + number % 30], [3, 4, 5, 6]) for number in range(200)]


def drawn(temperature, grammar=None):
    return own_answers(DECODER, PARAMS, PROMPTS, 0, (2,), grammar, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.3, 0.6, 1.0])
def test_the_temperature_of_draws_is_found_again(temperature):
    found = fitted_temperature(DECODER, PARAMS, drawn(temperature), None)
    assert found == pytest.approx(temperature, abs=0.1)


def test_it_is_found_among_the_tokens_of_a_grammar():
    rows = drawn(0.4, FORM)
    assert fitted_temperature(DECODER, PARAMS, rows, FORM) == pytest.approx(0.4, abs=0.1)


def test_rows_that_the_base_finds_unlikely_are_of_no_temperature_below_one():
    rng = np.random.default_rng(0)
    rows = [(prompt, rng.integers(3, 60, 4).tolist()) for prompt, _ in PROMPTS]
    assert fitted_temperature(DECODER, PARAMS, rows, None) == 1.0


def test_some_rows_are_taken_with_all_that_answer_their_prompt():
    some = rows_to_fit(PROMPTS, 0)
    assert ROWS <= len(some) < ROWS + 7
    counts = {tuple(prompt): 0 for prompt, _ in some}
    for prompt, _ in some:
        counts[tuple(prompt)] += 1
    assert set(counts.values()) <= {6, 7} and some == rows_to_fit(PROMPTS, 0)
    assert {tuple(prompt) for prompt, _ in rows_to_fit(PROMPTS, 1)} != set(counts)


def test_answers_are_the_same_whether_a_prompt_is_read_once_for_all_of_its_own():
    once = [([1, 2 + number % 5], [3, 4, 5, 6]) for number in range(15)]
    # One prompt that stands there once has every row read alone.
    alone = own_answers(DECODER, PARAMS, [*once, ([9], [3, 4, 5, 6])], 0, (2,), None)
    assert own_answers(DECODER, PARAMS, once, 0, (2,), None) == alone[:-1]
    assert len({tuple(ids) for _, ids in alone}) > 5
