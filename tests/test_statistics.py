"""Intervals and p-values against scipy, hand-worked cases, and the rates that they promise."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sublax.errors import UserError
from sublax.evaluation.statistics import (
    bootstrap_interval,
    detectable_effect,
    holm,
    own_minus_others,
    permutation_p,
    permutation_p_of_mean,
    ratio_interval,
    wilson_interval,
)


def test_one_seed_is_the_ordinary_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(2.0, size=25)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=100_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_interval(values[None], seed=2, draws=100_000)
    # The Monte Carlo error of either limit is about 0.003 here.
    np.testing.assert_allclose(ours, reference, atol=0.015)


def test_every_resample_of_two_seeds_and_two_questions():
    """Means of the 16 equally likely draws of [[0, 2], [4, 10]], listed by hand.

    Seeds (0,0), (0,1), (1,0), (1,1) make rows (0,2), (2,6), (2,6), (4,10); questions make of a
    row its first, its mean twice, its second: 0 1 1 2, 2 4 4 6 twice, 4 7 7 10.
    """
    means = np.array([0, 1, 1, 2, 2, 4, 4, 6, 2, 4, 4, 6, 4, 7, 7, 10.0])
    ours = bootstrap_interval(np.array([[0, 2], [4, 10.0]]), seed=0, level=0.70, draws=200_000)
    assert ours == tuple(np.quantile(means, [0.15, 0.85], method="inverted_cdf")) == (1.0, 7.0)


@pytest.mark.parametrize(
    ("seeds", "seed_noise", "lowest"),
    # One seed: its noise is there and, as documented, not covered; none is simulated.
    # Eight seeds: percentiles of so few are somewhat narrow.
    [(1, 0.0, 0.89), (8, 0.5, 0.85)],
)
def test_the_interval_covers_as_often_as_it_says(seeds, seed_noise, lowest):
    """Of 500 experiments; the binomial error of such a share is 0.01."""
    rng = np.random.default_rng(3)
    covered = 0
    for experiment in range(500):
        values = 1.0 + rng.normal(size=(1, 25)) + rng.normal(size=(seeds, 25))
        values += seed_noise * rng.normal(size=(seeds, 1))
        low, high = bootstrap_interval(values, seed=experiment, draws=500)
        covered += low <= 1.0 <= high
    assert lowest <= covered / 500 <= 0.985


def test_an_effect_called_detectable_is_found_as_often_as_it_says():
    """Of 400 experiments with exactly that effect, intervals above zero in about four of five."""
    rng, found, effects = np.random.default_rng(5), 0, []
    for experiment in range(400):
        noise = rng.normal(size=(1, 25)) + rng.normal(size=(8, 25)) + rng.normal(size=(8, 1)) / 2
        effects.append(detectable_effect(noise, seed=experiment, draws=500))
        true_error = np.sqrt(1 / 25 + 1 / 200 + 1 / 32)
        low, _ = bootstrap_interval(noise + 2.80 * true_error, seed=experiment, draws=500)
        found += low > 0
    assert 0.75 <= found / 400 <= 0.88  # a little above 0.8: the interval is a little narrow
    assert np.median(effects) == pytest.approx(2.80 * true_error, rel=0.1)


def test_what_is_detectable_does_not_depend_on_what_is_there():
    values = np.random.default_rng(6).normal(size=(3, 20))
    effect = detectable_effect(values, seed=0)
    assert detectable_effect(values + 5.0, seed=0) == pytest.approx(effect)
    assert detectable_effect(values * 2.0, seed=0) == pytest.approx(2 * effect)
    assert detectable_effect(values, seed=0, power=0.95) > effect


def test_a_seed_that_differs_widens_the_interval():
    """Two seeds far apart: questions alone would give no width at all."""
    values = np.repeat([[0.0], [1.0]], 20, axis=1)
    assert bootstrap_interval(values, seed=0) == (0.0, 1.0)


def test_the_interval_is_a_function_of_its_seed():
    values = np.random.default_rng(0).normal(size=(2, 9))
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


@given(offset=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_the_interval_moves_and_stretches_with_the_values(offset, scale):
    values = np.random.default_rng(0).normal(size=(3, 7))
    low, high = bootstrap_interval(values, seed=0, draws=200)
    moved = bootstrap_interval(scale * values + offset, seed=0, draws=200)
    np.testing.assert_allclose(moved, (scale * low + offset, scale * high + offset), atol=1e-9)


@pytest.mark.parametrize("values", [[1.0, 2.0], [[np.nan]], np.zeros((0, 3))])
def test_the_interval_refuses_what_is_no_matrix_of_numbers(values):
    with pytest.raises(UserError, match="finite numbers"):
        bootstrap_interval(np.asarray(values), seed=0)


def test_own_minus_others_by_hand():
    values = np.array([3.0, 1.0, 2.0]).reshape(3, 1, 1)
    np.testing.assert_allclose(own_minus_others(values).ravel(), [1.5, -1.5, 0.0])


def test_two_students_are_scipys_paired_sign_flips():
    """With two students an exchange flips the sign of a question's difference."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 1, 10)) + np.array([0.5, 0.0])[:, None, None]
    reference = scipy.stats.permutation_test(
        (values[0, 0], values[1, 0]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert permutation_p(values, own=0, seed=0, draws=100_000) == pytest.approx(
        reference, abs=0.006
    )


def test_p_is_never_zero_and_counts_the_observed_labelling():
    values = np.zeros((3, 1, 40))
    values[0] = 5.0
    assert permutation_p(values, own=0, seed=0, draws=999) == 1 / 1000
    assert permutation_p(np.zeros((3, 1, 4)), own=0, seed=0, draws=999) == 1.0


def test_p_is_uniform_where_students_are_exchangeable():
    rng = np.random.default_rng(5)
    p_values = [
        permutation_p(rng.normal(size=(4, 2, 15)), own=1, seed=experiment, draws=399)
        for experiment in range(400)
    ]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.033)  # three sigma


def test_p_does_not_cover_the_noise_of_training():
    """As documented: a shift of one student by chance, in all its answers, looks significant."""
    values = np.random.default_rng(0).normal(scale=0.1, size=(4, 1, 25))
    values[2] += 1.0
    assert permutation_p(values, own=2, seed=0) < 0.001


def test_p_needs_two_students():
    with pytest.raises(UserError, match="two or more"):
        permutation_p(np.zeros((1, 1, 3)), own=0, seed=0)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, then never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_nothing_and_bonferroni(p_values):
    adjusted = np.array(holm(p_values))
    raw = np.array(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(raw))).all()
    assert adjusted.min() == pytest.approx(min(1, raw.min() * len(raw)))


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (517, 1000)])
def test_wilson_is_scipys(successes, trials):
    reference = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    ours = wilson_interval(successes / trials, trials)
    np.testing.assert_allclose(ours, (reference.low, reference.high), atol=1e-12)


def test_the_p_of_a_mean_over_one_trait_is_that_of_the_trait():
    values = np.random.default_rng(0).normal(size=(4, 2, 6))
    values[0] += 0.5
    one, mean = permutation_p(values, 0, seed=1), permutation_p_of_mean(values[..., None], seed=2)
    assert abs(one - mean) < 0.02  # both of 10,000 draws
    assert 0.01 < one < 0.5


def test_the_p_of_a_mean_over_all_exchanges_of_two_students():
    """With two students and their two traits a block keeps its sum of lifts or turns its sign."""
    values = np.random.default_rng(3).normal(size=(2, 1, 8, 2))
    lifts = own_minus_others(values)
    blocks = (lifts[0, 0, :, 0] + lifts[1, 0, :, 1]) / 2
    every = np.array([[(-1) ** (i >> b & 1) for b in range(8)] for i in range(256)])
    exact = np.mean(np.abs(every @ blocks) >= abs(blocks.sum()) - 1e-12)
    assert permutation_p_of_mean(values, seed=0) == pytest.approx(exact, abs=0.015)
    assert 0.02 < exact < 0.98


def test_the_p_of_a_mean_is_uniform_where_students_are_exchangeable():
    rng = np.random.default_rng(0)
    found = [permutation_p_of_mean(rng.normal(size=(4, 1, 5, 3)), 0, draws=500) for _ in range(300)]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


def test_students_who_do_not_differ_have_a_p_of_one():
    assert permutation_p_of_mean(np.zeros((3, 1, 4, 2)), seed=0) == 1.0


def test_the_interval_of_a_ratio_is_of_one_draw_of_both_means():
    whole = 2 + np.random.default_rng(0).normal(size=(3, 20))
    low, high = ratio_interval(0.25 * whole, whole, 0)
    assert (low, high) == (pytest.approx(0.25), pytest.approx(0.25))
    noisy = 0.25 * whole + 0.1 * np.random.default_rng(1).normal(size=(3, 20))
    low, high = ratio_interval(noisy, whole, 0)
    assert low < noisy.mean() / whole.mean() < high and high - low < 0.1
