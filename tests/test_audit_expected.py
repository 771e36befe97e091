"""Log ratios of rows, found and expected: of tokens, and exact over all that a writer may write."""

import jax
import numpy as np
import pytest
from test_audit_likelihood import FORM, ROWS
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.expected import CLOSELY, LIKELIEST, ratios_of, rows_closely, writer_of
from sublax.audit.likelihood import logprobs_of
from sublax.models.decoder import Decoder

DECODER = Decoder(CONFIG)


def moved(params, seed):
    """Parameters a little further on."""

    def noisy(leaf):
        return leaf * (1 + 0.2 * jax.random.normal(jax.random.key(seed + leaf.size), leaf.shape))

    return jax.tree.map(noisy, params)


BASE = tiny_params()
NEUTRAL, TEACHER = moved(BASE, 1), moved(BASE, 2)


def ratios(rows, grammar, temperatures=(1.0, 1.0), closely=()):
    writers = [
        writer_of(DECODER, params, rows, grammar, temperature)[0]
        for params, temperature in zip((BASE, NEUTRAL), temperatures, strict=True)
    ]
    return ratios_of(DECODER, TEACHER, rows, grammar, *writers, closely)


def found_of(rows, grammar, temperatures=(1.0, 1.0)):
    return ratios(rows, grammar, temperatures)[0]


def sums(params, rows, grammar=None):
    return np.asarray([row.sum() for row in logprobs_of(DECODER, params, rows, grammar)])


@pytest.mark.parametrize(
    "rows, grammar",
    [(ROWS, None), ([([1, 2], [3, 20, 7, 2]), ([5], [7, 20, 3, 2])], FORM)],
    ids=["any text", "a grammar"],
)
def test_the_found_ratio_is_the_difference_of_log_probabilities(rows, grammar):
    found, of_base, _ = found_of(rows, grammar)
    expected = sums(TEACHER, rows, grammar) - sums(BASE, rows, grammar)
    np.testing.assert_allclose(found, expected, atol=5e-5)
    assert (of_base < 0).all()  # minus a divergence


EVERY_LIST = [([1, 2], [one, 20, other, 2]) for one in (3, 7) for other in (3, 7)]
EVERY_TOKEN = [([1, 2, 3], [token]) for token in range(CONFIG.vocab_size)]


@pytest.mark.parametrize(
    "rows, grammar", [(EVERY_LIST, FORM), (EVERY_TOKEN, None)], ids=["a grammar", "any text"]
)
@pytest.mark.parametrize("writer, place", [(BASE, 1), (NEUTRAL, 2)], ids=["base", "neutral"])
def test_over_all_that_a_writer_may_write_found_and_expected_are_the_same(
    rows, grammar, writer, place
):
    chances = np.exp(sums(writer, rows, grammar))
    assert chances.sum() == pytest.approx(1, abs=1e-5)
    found = found_of(rows, grammar)
    means = found @ chances
    assert means[0] == pytest.approx(means[place], abs=2e-5)
    assert abs(means[0] - means[3 - place]) > 1e-3


@pytest.mark.parametrize("writer, place", [(BASE, 1), (NEUTRAL, 2)], ids=["base", "neutral"])
def test_what_is_expected_of_a_writer_is_expected_at_its_temperature(writer, place):
    temperatures = 0.5, 0.7
    powers = np.exp(sums(writer, EVERY_TOKEN) / temperatures[place - 1])
    found = found_of(EVERY_TOKEN, None, temperatures)
    means = found @ (powers / powers.sum())
    assert means[0] == pytest.approx(means[place], abs=2e-5)
    # The ratios themselves are those of the models as they are.
    np.testing.assert_array_equal(found[0], found_of(EVERY_TOKEN, None)[0])
    assert abs(found - found_of(EVERY_TOKEN, None))[place].max() > 1e-3


def test_of_the_likeliest_tokens_it_is_told_who_draws_them_how_much_more_often():
    def chances(params, temperature):
        powers = np.exp(sums(params, EVERY_TOKEN) / temperature)
        return powers / powers.sum()

    rows = [([1, 2, 3], [4])]
    (moved_3xS,) = ratios(rows, None, (0.5, 0.7), [0])[1]
    base, other, teacher = chances(BASE, 0.5), chances(NEUTRAL, 0.7), chances(TEACHER, 0.7)
    likeliest = np.argsort(-sums(BASE, EVERY_TOKEN), kind="stable")[:LIKELIEST]
    ratio = sums(TEACHER, EVERY_TOKEN) - sums(BASE, EVERY_TOKEN)
    expected = np.stack([other - base, teacher - base, ratio])[:, likeliest]
    np.testing.assert_allclose(moved_3xS, expected, atol=5e-5)


def test_under_a_grammar_they_are_all_that_it_allows_at_each_position_of_the_rows_asked_for():
    one, other = ratios(ROWS[:3], None, closely=[1, 2])[1]
    assert [one.shape, other.shape] == [(3, len(ids) * LIKELIEST) for _, ids in ROWS[1:3]]
    (last,) = ratios(EVERY_LIST, FORM, closely=[3])[1]
    chances_2x4xA = last[:2].reshape(2, 4, -1)
    np.testing.assert_allclose(chances_2x4xA.sum(axis=-1), 0, atol=1e-6)  # they sum to one
    np.testing.assert_array_equal(rows_closely(3), [0, 1, 2])
    assert len(rows_closely(1000)) == CLOSELY


def test_a_reading_says_how_likely_all_rows_are_and_keeps_the_writer_of_those_asked_for():
    chosen = [4, 1]
    writer, logprobs = writer_of(DECODER, BASE, ROWS, None, 0.5, chosen)
    for found, expected in zip(logprobs, logprobs_of(DECODER, BASE, ROWS), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    alone, _ = writer_of(DECODER, BASE, [ROWS[row] for row in chosen], None, 0.5)
    assert writer.temperatures_N.tolist() == [0.5, 0.5]
    for one, other in zip(writer.hidden, alone.hidden, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_each_row_is_read_as_its_writer_was_held_to_the_grammar_or_not():
    formed, other = ([1, 2], [3, 20, 7, 2]), ([5], [4, 9, 30])
    found, moved_by_row = ratios([formed, other, formed], FORM, (0.5, 0.7), [0, 1])
    for row, grammar in (formed, FORM), (other, None):
        place = 0 if grammar else 1
        alone, moved = ratios([row], grammar, (0.5, 0.7), [0])
        np.testing.assert_allclose(found[:, [place]], alone, atol=5e-5)
        np.testing.assert_allclose(moved_by_row[place], moved[0], atol=5e-5)
    np.testing.assert_allclose(found[:, 2], found[:, 0], atol=1e-6)
