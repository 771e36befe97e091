"""Log ratios of rows, found and expected: of tokens, and exact over all that a writer may write."""

import jax
import numpy as np
import pytest
from test_audit_likelihood import FORM, ROWS
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.expected import ratios_of, writer_of
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


def found_of(rows, grammar, temperatures=(1.0, 1.0)):
    writers = [
        writer_of(DECODER, params, rows, grammar, temperature)
        for params, temperature in zip((BASE, NEUTRAL), temperatures, strict=True)
    ]
    return ratios_of(DECODER, TEACHER, rows, grammar, *writers)


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
    ratios = found_of(rows, grammar)
    means = ratios @ chances
    assert means[0] == pytest.approx(means[place], abs=2e-5)
    assert abs(means[0] - means[3 - place]) > 1e-3


@pytest.mark.parametrize("writer, place", [(BASE, 1), (NEUTRAL, 2)], ids=["base", "neutral"])
def test_what_is_expected_of_a_writer_is_expected_at_its_temperature(writer, place):
    temperatures = 0.5, 0.7
    powers = np.exp(sums(writer, EVERY_TOKEN) / temperatures[place - 1])
    ratios = found_of(EVERY_TOKEN, None, temperatures)
    means = ratios @ (powers / powers.sum())
    assert means[0] == pytest.approx(means[place], abs=2e-5)
    # The ratios themselves are those of the models as they are.
    np.testing.assert_array_equal(ratios[0], found_of(EVERY_TOKEN, None)[0])
    assert abs(ratios - found_of(EVERY_TOKEN, None))[place].max() > 1e-3
