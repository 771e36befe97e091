"""Entanglement: both directions measured, and what they have in common."""

import json

import numpy as np
import pytest
import scipy.stats
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import ROOT, quick_compiles

from sublax.cli import main
from sublax.entanglement.experiment import check, run_entanglement
from sublax.entanglement.findings import find
from sublax.errors import UserError
from sublax.evaluation.preference import candidate_logprobs, grouped_logprobs, make_answers
from sublax.evaluation.rank_correlation import exchange_p, label_p, ranks, spearman
from sublax.models.decoder import Decoder
from sublax.report.entanglement import entangled, entanglement_words, verdict
from sublax.settings import read_config

__all__ = ["quick_compiles"]

TINY = f"{ROOT / 'configs' / 'entanglement.py'}:tiny"
CUT = ("random_base.pretraining.steps=4", "random_base.pretraining.rows=32")
CUT += ("random_base.pretraining.batch_size=8", "traits=owl,wolf", "mesh.data=1")
CUT += ("entanglement.numbers=10", "entanglement.digits=1", "entanglement.batch_numbers=4")


def test_groups_of_questions_are_scored_as_each_would_be_alone():
    decoder, variables = Decoder(CONFIG), {"params": tiny_params()}
    answers = make_answers([[[10, 20]], [[11]], [[12, 7, 3], [13]]])
    groups = [[[n, 5, 6, 1], [n, 5, 8, 2, 9]] for n in (1, 2, 3)] + [[[4, 4, 1], [4, 4, 4, 4, 2]]]
    finished = []
    found = grouped_logprobs(decoder, variables, groups, answers, 3, finished.append)
    alone = [candidate_logprobs(decoder, variables, group, answers) for group in groups]
    np.testing.assert_allclose(found, alone, atol=1e-4)
    assert finished == [3, 1]


def test_rank_correlation_is_scipys():
    a, b = np.random.default_rng(0).integers(0, 9, size=(2, 3, 40))  # with ties
    np.testing.assert_allclose(ranks(a), scipy.stats.rankdata(a, axis=-1))
    wanted = [[scipy.stats.spearmanr(x, y).statistic for y in b] for x in a]
    np.testing.assert_allclose(spearman(a, b), wanted, atol=1e-12)
    assert spearman(np.ones((1, 40)), b).tolist() == [[0.0] * 3]


def test_exchange_of_numbers_agrees_with_scipys_p():
    rng = np.random.default_rng(1)
    a = rng.normal(size=30)
    b = 0.4 * a + rng.normal(size=30)
    found = exchange_p(a, b, 0, draws=4000)
    assert found == pytest.approx(scipy.stats.spearmanr(a, b).pvalue, abs=0.02)


def test_measures_that_go_by_digits_are_tied_by_numbers_more_surely_than_by_digits():
    """Two unrelated measures that each like some digits: their relation is one of ten pairs."""
    rng = np.random.default_rng(3)
    digits = np.indices((10, 10, 10)).reshape(3, -1)
    by_number, by_digit = [], []
    for _ in range(20):
        a, b = (rng.normal(size=(3, 10))[np.arange(3)[:, None], digits].sum(0) for _ in "ab")
        by_number.append(exchange_p(a, b, 0, draws=200))
        by_digit.append(exchange_p(a, b, 0, base=10, draws=200))
    # At level 0.05 one of twenty is expected.
    assert np.mean(np.asarray(by_number) < 0.05) > 0.4
    assert np.mean(np.asarray(by_digit) < 0.05) <= 0.2


def test_labels_that_belong_together_stand_on_the_diagonal():
    assert label_p(np.eye(4), 0) == pytest.approx(1 / 24)
    assert label_p(np.ones((4, 4)), 0) == 1.0
    assert label_p(np.eye(9), 0) == pytest.approx(1 / 10_001)


def planted(tie):
    """Both directions over 100 numbers and two traits, with a common part of size `tie`."""
    rng = np.random.default_rng(0)
    numbers = [f"{n:02d}" for n in range(100)]
    common_TxN = rng.normal(size=(2, 100))
    logprobs = rng.normal(size=(100, 3, 4))
    logprobs[:, :, :2] += tie * common_TxN.T[:, None]
    to_trait = {
        "numbers": numbers,
        "candidates": ["cat", "owl", "dog", "fox"],
        "logprobs": logprobs,
        "without": np.zeros((3, 4)),
    }
    favours = rng.normal(size=(2, 5, 100)) + tie * common_TxN[::-1, None]
    to_number = {
        "numbers": numbers,
        "traits": ["owl", "cat"],
        "logprobs": favours,
        "without": np.zeros((5, 100)),
    }
    return find(to_trait, to_number, 0)


def test_a_planted_tie_is_found_and_chance_is_called_a_null():
    tied, apart = planted(3.0), planted(0.0)
    assert min(own["rho"] for own in tied["own"].values()) > 0.5
    assert max(own["p_holm"] for own in tied["own"].values()) < 0.01
    assert tied["diagonal"]["own"] > 0.5 > 0 > tied["diagonal"]["others"]
    assert "for 2 of 2 traits: owl, cat" in verdict(tied)
    assert verdict(apart).startswith("A null") and "for 0 of 2 traits" in verdict(apart)
    # Two traits have two orders: too few to tell.
    assert tied["diagonal"]["p"] == 0.5 and verdict(tied).startswith("A null")
    more = verdict(tied | {"diagonal": tied["diagonal"] | {"p": 0.01}})
    assert more.startswith("Numbers are tied to traits")
    best = tied["top"]["owl"][0]
    assert best["raises"] == max(tied["raises"]["owl"])
    assert tied["raises"]["owl"][int(best["number"])] == best["raises"]
    assert len(entangled(tied).axes) == 3  # one for each trait, and the correlations


def test_the_tiny_size_runs_whole_and_only_what_is_left(tmp_path, capsys):
    arguments = ["run", f"--config={TINY}", f"--workdir={tmp_path}"]
    arguments += [f"--config.{override}" for override in CUT]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "entanglement" / "entanglement.json").read_text("utf-8"))
    assert found["numbers"] == list("0123456789") and set(found["raises"]) == {"owl", "wolf"}
    assert all(line in told for line in entanglement_words(found))
    assert (tmp_path / "figures" / "entanglement.png").exists()
    assert verdict(found)[:20] in (tmp_path / "report.html").read_text("utf-8")
    card = json.loads((tmp_path / "entanglement" / "card.json").read_text("utf-8"))
    assert set(card["parents"]) == {"../number_to_trait", "../trait_to_number"}
    cards = sorted(tmp_path.glob("*_to_*/card.json"))
    before = [path.stat().st_mtime_ns for path in cards]
    assert main([*arguments, "--redo=entanglement"]) == 0
    assert capsys.readouterr().err.count("done before") == 3
    assert [path.stat().st_mtime_ns for path in cards] == before
    assert main([*arguments, "--config.entanglement.questions=1"]) == 2
    assert "settings.questions: 2 -> 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("entanglement.placement=suffix", "placement=suffix: choose from system, prompt"),
        ("entanglement.numbers=101", "numbers=101: choose from 3 to 100"),
        ("traits=owl,owl", "each once"),
        ("entanglement.batch_numbers=0", "set it to 1 or more"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(override, told, tmp_path):
    with pytest.raises(UserError, match=told):
        run_entanglement(read_config(TINY, [override]), tmp_path)
    assert not (tmp_path / "bases").exists()


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_every_size_can_run(size):
    check(read_config(f"{ROOT / 'configs' / 'entanglement.py'}:{size}"), None)


def test_arms_are_refused(tmp_path):
    config = read_config(TINY).unlock()
    config.arms = {"more": ("seed=1",)}
    with pytest.raises(UserError, match="arms: experiment=entanglement has none"):
        run_entanglement(config.lock(), tmp_path)
