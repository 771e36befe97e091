"""The evidence for a trait, on rows whose teachers and writers are known normal distributions.

A row is a point x, BASE writes N(0, 1) and a teacher N(d, 1), so its log ratio is <x, d> - |d|^2/2
exactly, and expected of a writer N(w, 1) it is <w, d> - |d|^2/2. So what rows of a writer show over
BASE's is <w, d>, which a world gives as it is. All teachers share a drift, each
has a trait of its own, and some chance of its own.
"""

import numpy as np
import pytest
from scipy import stats

from sublax.audit.candidates import LEAST_CANDIDATES
from sublax.audit.evidence import evidence, outliers, responses_of, strengths, tuned

K, SIZE, N = 12, 40, 400


class World:
    """Teachers, and rows of any writer as their teachers score them."""

    def __init__(self, seed, traits=K, kinship=0.0):
        self.rng = np.random.default_rng(seed)
        self.drift = np.zeros(SIZE)
        self.drift[0] = 1.0
        self.traits = 0.4 * np.eye(SIZE)[1 : traits + 1]
        # Neighbours two by two, so that each speaks for the other too.
        self.traits += kinship * self.traits[np.arange(traits) ^ 1]
        self.lengths = self.rng.uniform(0.8, 1.3, traits)
        self.teachers = np.stack([self.tuned(trait) for trait in self.traits])

    def tuned(self, trait):
        """A teacher or a writer of a trait, with chance of its own."""
        chance = np.concatenate([[0.0], self.rng.normal(0, 0.03, SIZE - 1)])
        return self.rng.uniform(0.8, 1.3) * (self.drift + trait) + chance

    def rows(self, writer):
        return writer + self.rng.normal(size=(N, SIZE))

    def found(self, data, seed=0):
        neutral = self.tuned(0.0)
        sets = np.stack([data, 0 * data, np.broadcast_to(neutral, data.shape)])
        ratios_KxSxN = np.einsum("kx,snx->ksn", self.teachers, sets)
        ratios_KxSxN -= (self.teachers**2).sum(axis=1)[:, None, None] / 2
        responses_WxK = np.stack([neutral, *self.teachers]) @ self.teachers.T
        prompts_N = np.arange(N) // 4
        found = evidence(ratios_KxSxN, responses_WxK, prompts_N, seed)
        return found, tuned(ratios_KxSxN, prompts_N, seed)


def is_found(entry):
    return entry["excess"] > 0 and max(entry["p_rows"], entry["p_traits"]) <= 0.05


def test_a_writer_of_a_trait_is_found_and_seldom_another_trait():
    hits, others = [], []
    for seed in range(60):
        world = World(seed)
        own = seed % K
        found, along = world.found(world.rows(world.tuned(world.traits[own])))
        hits.append(is_found(found[own]))
        others.append(any(is_found(entry) for k, entry in enumerate(found) if k != own))
        assert found[own]["low"] < found[own]["excess"] < found[own]["high"]
        assert 0.6 < along["value"] < 1.7 and along["low"] < along["value"] < along["high"]
    assert np.mean(hits) >= 0.8
    assert np.mean(others) <= 0.05  # the level of all traits together


def test_what_a_trait_says_for_its_kin_is_taken_out():
    plain, strength, named = np.zeros(K), np.zeros(K), np.zeros(K)
    for seed in range(20):
        world = World(seed, kinship=0.5)
        found, _ = world.found(world.rows(world.tuned(world.traits[4])))
        plain += [entry["excess"] for entry in found]
        strength += [entry["effect"] for entry in found]
        named += [is_found(entry) for entry in found]
    assert plain[5] > 0.6 * plain[4]
    assert strength[5] < 0.4 * strength[4]
    assert named[4] >= 10 and np.delete(named, [4, 5]).sum() <= 1
    assert named[5] <= named[4] / 4  # the kin beside it now and then, as the limits say


def test_what_rows_of_any_trait_would_show_speaks_for_none():
    rng = np.random.default_rng(0)
    # Rows of every trait's teacher speak against the last trait too, however little kin it is.
    shown_KxK = np.eye(K)
    shown_KxK[:-1, -1] = -1.5
    responses_WxK = np.vstack([np.ones(K), 1 + shown_KxK])
    shown_1xK = shown_KxK[[3]] - 0.4 * np.eye(K)[3]  # a little less than the teacher's own
    excess_1xK = (shown_1xK - shown_1xK.mean()) * K / (K - 1)
    chance_KxN = rng.normal(size=(K, N))
    chance_KxN -= chance_KxN.mean(axis=0)
    (found_K,) = strengths(excess_1xK, chance_KxN, responses_WxK)
    assert found_K.argmax() == 3 and 0.4 < found_K[3] < 0.8
    assert np.abs(np.delete(found_K, 3)).max() < found_K[3] / 3


def test_responses_are_means_over_what_each_would_write():
    rng = np.random.default_rng(0)
    tokens, rows = 5, 4
    base, neutral, *teachers = rng.dirichlet(np.ones(tokens), size=(2 + K, rows))
    ratios = [np.log(teacher / base) for teacher in teachers]
    moved_Kx3xM = np.stack(
        [
            np.stack([neutral - base, teacher - base, ratio]).reshape(3, -1)
            for teacher, ratio in zip(teachers, ratios, strict=True)
        ]
    )
    responses_WxK = responses_of(moved_Kx3xM, rows)
    for writer, found_K in zip((neutral, *teachers), responses_WxK, strict=True):
        expected = [((writer - base) * ratio).sum() / rows for ratio in ratios]
        np.testing.assert_allclose(found_K, expected)


@pytest.mark.parametrize("writer", ["base", "neutral", "half as tuned"])
def test_writers_of_no_trait_are_seldom_accused(writer):
    accused, lengths = [], []
    for seed in range(100):
        world = World(seed)
        length = {"base": 0.0, "neutral": 1.0, "half as tuned": 0.5}[writer]
        found, along = world.found(world.rows(length * world.tuned(0.0)))
        accused.append(any(is_found(entry) for entry in found))
        lengths.append(along["value"])
    assert np.mean(lengths) == pytest.approx(length, abs=0.08)
    assert np.mean(accused) <= 0.1


def test_teachers_of_other_lengths_do_not_speak_for_a_trait():
    world = World(3)
    world.teachers[2] *= 2.0  # what BASE writes is far from it, what tuned writers do nearer
    found, _ = world.found(world.rows(np.zeros(SIZE)))
    assert not is_found(found[2])


def test_the_first_outlier_is_grubbs_and_those_behind_it_do_not_hide_it():
    values = np.random.default_rng(0).normal(size=12)
    values[4] = 6.0
    t, p = outliers(values)
    rest = np.delete(values, 4)
    grubbs = (6.0 - values.mean()) / values.std(ddof=1)
    n = len(values)
    by_grubbs = np.sqrt(n * (n - 2) * grubbs**2 / ((n - 1) ** 2 - n * grubbs**2))
    assert t[4] == pytest.approx(by_grubbs)
    assert t[4] == pytest.approx((6 - rest.mean()) / rest.std(ddof=1) / np.sqrt(1 + 1 / 11))
    assert p[4] == pytest.approx(12 * stats.t.sf(by_grubbs, 10))
    values[7] = 5.9
    assert (outliers(values)[1][[4, 7]] < 0.01).all()


def test_outliers_among_equals_are_as_rare_as_their_level():
    rng = np.random.default_rng(1)
    found = [outliers(rng.normal(size=12))[1].min() <= 0.05 for _ in range(2000)]
    assert np.mean(found) <= 0.08
    assert LEAST_CANDIDATES >= 6  # with three there is no rest to stand out from
