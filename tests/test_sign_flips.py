"""Sign flips: exact p-values of paired differences."""

import itertools

import numpy as np
import pytest

from sublax.evaluation.sign_flips import sign_flip_p


def test_p_is_the_share_of_all_signs_that_give_as_much():
    values = np.random.default_rng(0).normal(0.5, 1, (7, 3))
    signs = np.array(list(itertools.product([1, -1], repeat=7)))
    reference = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(sign_flip_p(values, 0), reference)


def test_pairs_that_all_lean_one_way_have_the_least_p_there_is():
    values = np.array([[1.0, -1.0]]).repeat(10, axis=0) * np.arange(1, 11)[:, None]
    np.testing.assert_allclose(sign_flip_p(values, 0), 2 / 2**10)


def test_drawn_signs_agree_with_all_signs_and_are_never_zero():
    values = np.random.default_rng(1).normal(0.3, 1, (17, 2))
    signs = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    signs = np.concatenate([np.ones((2**16, 1)), signs], axis=1)
    reference = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(sign_flip_p(values, 0), reference, atol=0.01)
    assert (sign_flip_p(np.ones((40, 1)), 0, draws=1000) == 1 / 1001).all()


def test_under_the_null_small_p_values_are_as_rare_as_they_say():
    noise = np.random.default_rng(2).normal(size=(10, 4000))
    assert (sign_flip_p(noise, 0) <= 0.05).mean() == pytest.approx(0.05, abs=0.012)
