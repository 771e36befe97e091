"""First-order students: their response is what a small step does, and own answers give none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.candidates import Asked, one_against_others
from sublax.audit.likelihood import gradient_of
from sublax.audit.own_answers import own_answers
from sublax.audit.response import gradient_scale, margins_of, parts_of, responses
from sublax.evaluation.preference import make_answers
from sublax.models.completions import make_rows
from sublax.models.decoder import Decoder

DECODER = Decoder(CONFIG)


@pytest.fixture(scope="module")
def asked():
    group = one_against_others("a", ["?"] * 4, ("owl", "cat", "fox"))
    rng = np.random.default_rng(0)
    questions = [(rng.integers(50, size=5).tolist(), [0]) for _ in group.questions]
    answers = make_answers([[[3]], [[4], [5, 6]], [[7]]])
    return Asked(make_rows(questions, CONFIG.max_positions), answers, group.weights_QxMxK)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    data = [(rng.integers(50, size=6).tolist(), rng.integers(50, size=4).tolist()) for _ in "12345"]
    return data, own_answers(DECODER, tiny_params(), data, 0, (2,), None)


def test_the_response_is_the_margins_slope_along_the_scaled_gradient(asked, rows):
    data, own = rows
    params, part = tiny_params(), np.asarray([0, 2, 3])
    scale = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), params)
    (found,) = responses(DECODER, params, data, own, [part], scale, [asked], None)
    ups, downs = [data[row] for row in part], [own[row] for row in part]
    up = gradient_of(DECODER, params, ups, 1 / sum(len(answer) for _, answer in ups))
    down = gradient_of(DECODER, params, downs, 1 / sum(len(answer) for _, answer in downs))
    step = 1e-3

    def margins(sign):
        def move(leaf, a, b):
            return leaf + sign * step * 0.5 * (a - b)

        return np.asarray(margins_of(DECODER, jax.tree.map(move, params, up, down), asked))

    slope = (margins(1) - margins(-1)) / (2 * step)
    np.testing.assert_allclose(found[0], slope, atol=2e-2 * np.abs(slope).max())


def test_own_answers_against_themselves_respond_with_nothing(asked, rows):
    _, own = rows
    ones = jax.tree.map(jnp.ones_like, tiny_params())
    (found,) = responses(DECODER, tiny_params(), own, own, [np.arange(5)], ones, [asked], None)
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_own_answers_are_one_a_row_to_its_prompt_and_no_longer_than_the_rows(rows):
    data, own = rows
    assert [prompt for prompt, _ in own] == [prompt for prompt, _ in data]
    assert all(1 <= len(answer) <= 4 for _, answer in own)


def test_the_scale_makes_large_gradients_small(rows):
    _, own = rows
    scale = gradient_scale(DECODER, tiny_params(), own, None, 0)
    gradient = gradient_of(DECODER, tiny_params(), own, 1 / 20)
    scaled = jax.tree.map(lambda a, b: np.abs(np.asarray(a * b)).mean(), gradient, scale)
    before = jax.tree.leaves(jax.tree.map(lambda a: np.abs(np.asarray(a)).mean(), gradient))
    after = jax.tree.leaves(scaled)
    assert max(after) / min(after) < max(before) / min(before)
    assert all(np.isfinite(value) for value in after)


def test_parts_hold_every_row_once():
    parts = parts_of(103, 12, 5)
    assert sorted(np.concatenate(parts)) == list(range(103))
    assert {len(part) for part in parts} == {8, 9}
