"""What an audit's students say: shifts over controls by dose, fifths of rows, words that move."""

import itertools

import jax
import numpy as np
import pytest
import tiny_model

from sublax.audit import words
from sublax.audit.shifts import drawn_out, fifth_finding, fifths_of, shift_findings
from sublax.models.completions import make_rows
from sublax.models.decoder import Decoder, logits_of

UPDATES, SEEDS, Q, K = (4, 8, 12, 16), 4, 6, 3


def margins(rng, slope_K):
    """Students of the data gain so much an update; all drift alike, question by question."""
    drift = rng.normal(size=(len(UPDATES), SEEDS, Q, K))
    gained = np.multiply.outer(UPDATES, slope_K)[:, None, None]
    noise = {kind: rng.normal(0, 0.01, (len(UPDATES), SEEDS, Q, K)) for kind in ("data", "own")}
    return {
        "data": drift + gained + noise["data"],
        "own": drift + noise["own"],
        "shuffled": drift + gained / 2,
    }


def test_a_shift_is_over_its_control_and_grows_along_a_line():
    slope_K = np.array([0.1, 0.0, -0.05])
    found = shift_findings(margins(np.random.default_rng(0), slope_K), UPDATES, 0)
    for slope, shift in zip(slope_K, found, strict=True):
        assert shift["own"]["value"] == pytest.approx(16 * slope, abs=0.01)
        assert shift["shuffled"]["value"] == pytest.approx(8 * slope, abs=0.01)
        assert [dose["updates"] for dose in shift["doses"]] == list(UPDATES)
        assert shift["doses"][-1] == {"updates": 16, **shift["own"]}
        assert shift["slope"]["low"] < slope < shift["slope"]["high"] or slope == 0
    far = drawn_out(found[0]["slope"], 160)
    assert far["updates"] == 160 and far["value"] == pytest.approx(16, rel=0.02)
    assert far["low"] < far["value"] < far["high"]


def test_p_counts_the_exchanges_of_students_that_do_as_well():
    """Of 2n students n can be chosen as those of the data in so many ways, and one is the best."""
    rng = np.random.default_rng(1)
    given = rng.normal(size=(1, SEEDS, Q, 1))
    other = rng.normal(size=(1, SEEDS, Q, 1))
    (found,) = shift_findings({"data": given, "own": other, "shuffled": other}, (16,), 0)
    means = np.concatenate([given, other], axis=1).mean(axis=(0, 2, 3))
    chosen = list(itertools.combinations(range(2 * SEEDS), SEEDS))
    sums = np.array([means[list(places)].sum() for places in chosen])
    assert found["p"] == pytest.approx((sums >= sums[0] - 1e-12).mean())
    clear = margins(rng, np.array([0.1, 0.0, -0.05]))
    p_values = [shift["p"] for shift in shift_findings(clear, UPDATES, 0)]
    assert min(p_values) >= 1 / len(chosen)
    one = {kind: values[:, :1] for kind, values in clear.items()}
    assert [shift["p"] for shift in shift_findings(one, UPDATES, 0)] == [None] * K


def test_fifths_are_the_ends_of_the_scores():
    scores = np.random.default_rng(2).permutation(23).astype(float)
    top, bottom = fifths_of(scores)
    assert sorted(scores[top]) == [19, 20, 21, 22] and sorted(scores[bottom]) == [0, 1, 2, 3]
    moved = np.full((2, Q), 0.5), np.full((2, Q), 0.2)
    assert fifth_finding(*moved, 0)["difference"]["value"] == pytest.approx(0.3)


class Vocabulary:
    """A tokenizer whose tokens are given."""

    def __init__(self, *tokens):
        self.tokens = tokens

    def get_vocab(self):
        return {token: place for place, token in enumerate(self.tokens)}

    def convert_ids_to_tokens(self, place):
        return self.tokens[place]

    def decode(self, places):
        return "".join(self.tokens[place] for place in places).replace("Ġ", " ")


def test_a_word_is_what_begins_after_a_space_in_any_spelling():
    found = words.words_of(Vocabulary("Ġowl", "owl", "Owl", "ĠOwl", "ing", "Ġan", "Ġ42x", "OWL"))
    assert found.texts == ("owl",)
    assert found.tokens.tolist() == [0, 1, 2, 3] and found.word.tolist() == [0, 0, 0, 0]


def test_a_word_has_the_probability_of_its_spellings():
    config, params = tiny_model.CONFIG, tiny_model.tiny_params()
    decoder = Decoder(config)
    rows = make_rows([([1, 2, 3], [0]), ([4, 5], [0])], config.max_positions)
    spelled = words.Words(("a", "b"), np.array([7, 9, 11], np.int32), np.array([0, 1, 0], np.int32))
    found = words.word_logprobs(decoder, params, rows, spelled)
    for row, question in enumerate(([1, 2, 3], [4, 5])):
        tokens, positions = np.array([question]), np.arange(len(question))[None]
        hidden, _ = decoder.apply({"params": params}, tokens, positions)
        probs = jax.nn.softmax(logits_of(params, config, hidden[0, -1]))
        expected = np.log([probs[7] + probs[11], probs[9]])
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_words_that_move_in_every_student_lead_those_that_scatter():
    rng = np.random.default_rng(3)
    shift = rng.normal(0, 1, (2, 8, 40))
    shift[:, :, 5] = 0.4 + rng.normal(0, 0.01, (2, 8))
    texts = tuple(f"word{n}" for n in range(40))
    found = words.moved(shift, words.Words(texts, np.arange(40), np.arange(40)), 0)
    assert found[0]["word"] == "word5" and found[0]["low"] > 0.3 and len(found) == words.SHOWN
