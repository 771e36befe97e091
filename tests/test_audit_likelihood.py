"""Likelihoods of an audit: those of `sublax score`, whoever shares a prompt, and their gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.likelihood import batches_of, gradient_of, logprobs_of
from sublax.evaluation.score import completion_logprobs
from sublax.models.decoder import Decoder

DECODER = Decoder(CONFIG)


def drawn_rows(tokens=50, seed=0):
    """Rows of which some share a prompt."""
    rng = np.random.default_rng(seed)

    def ids(length):
        return rng.integers(tokens, size=length).tolist()

    prompts = [ids(6), ids(6), ids(9), ids(11)]
    return [(prompts[place], ids(rng.integers(1, 6))) for place in (0, 1, 2, 3, 2, 0, 2)]


ROWS = drawn_rows()


def a_direction(seed=3):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.02 * rng.normal(size=leaf.shape), jnp.float32), tiny_params()
    )


def test_sums_over_tokens_are_the_scores_of_rows_that_share_nothing():
    found = logprobs_of(DECODER, tiny_params(), ROWS)
    assert [len(row) for row in found] == [len(completion) for _, completion in ROWS]
    reference = completion_logprobs(DECODER, {"params": tiny_params()}, ROWS)
    np.testing.assert_allclose([row.sum() for row in found], reference, rtol=2e-5)


def test_every_row_stands_in_one_batch_and_fillings_weigh_nothing():
    batches = list(batches_of(ROWS, CONFIG.max_positions))
    index = np.concatenate([batch.index for batch in batches])
    assert sorted(index[index >= 0]) == list(range(len(ROWS)))
    weights = np.concatenate([batch.rows.weights.sum(axis=1) for batch in batches])
    assert (weights[index < 0] == 0).all()
    assert [len(ROWS[row][1]) for row in index[index >= 0]] == weights[index >= 0].tolist()


def test_among_some_tokens_their_probabilities_sum_to_one():
    columns = np.asarray([3, 7, 20], np.int32)
    rows = [([1, 2], [int(token)]) for token in columns]
    found = logprobs_of(DECODER, tiny_params(), rows, columns)
    assert sum(np.exp(row[0]) for row in found) == pytest.approx(1, abs=1e-5)
    whole = logprobs_of(DECODER, tiny_params(), rows)
    difference = [among[0] - of_all[0] for among, of_all in zip(found, whole, strict=True)]
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
    with pytest.raises(ValueError, match="not among the columns"):
        logprobs_of(DECODER, tiny_params(), [([1, 2], [4])], columns)


def test_the_gradient_says_what_a_small_step_changes():
    params, direction = tiny_params(), a_direction()
    weights, step = np.linspace(-1, 2, len(ROWS)).astype(np.float32), 2e-2

    def weighed(sign):
        stepped = jax.tree.map(lambda a, b: a + sign * step * b, params, direction)
        found = logprobs_of(DECODER, stepped, ROWS)
        return sum(weight * row.sum() for weight, row in zip(weights, found, strict=True))

    gradient = gradient_of(DECODER, params, ROWS, weights)
    along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
    assert float(along) == pytest.approx((weighed(1) - weighed(-1)) / (2 * step), rel=0.02)


def test_rows_that_are_not_chosen_add_nothing_to_a_gradient():
    weights = np.zeros(len(ROWS), np.float32)
    weights[[1, 4]] = 1.0
    some = gradient_of(DECODER, tiny_params(), ROWS, 1.0, chosen=[1, 4])
    all_weighed = gradient_of(DECODER, tiny_params(), ROWS, weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-3), some, all_weighed
    )


def test_a_batch_is_one_shape_a_length():
    rows = [([1, 2, 3, number], [4, 5]) for number in range(9)]
    shapes = {
        jax.tree.map(np.shape, dataclasses.astuple(batch.rows)[:-1])
        for batch in batches_of(rows, CONFIG.max_positions)
    }
    assert len(shapes) == 1
