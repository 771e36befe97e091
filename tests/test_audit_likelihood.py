"""Likelihoods of an audit: those of `sublax score`, whoever shares a prompt, or under a grammar."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.likelihood import batches_of, logprobs_of
from sublax.evaluation.score import completion_logprobs
from sublax.models.decoder import Decoder
from sublax.sampling.grammar import Grammar

DECODER = Decoder(CONFIG)


def drawn_rows(tokens=50, seed=0):
    """Rows of which some share a prompt."""
    rng = np.random.default_rng(seed)

    def ids(length):
        return rng.integers(tokens, size=length).tolist()

    prompts = [ids(6), ids(6), ids(9), ids(11)]
    return [(prompts[place], ids(rng.integers(1, 6))) for place in (0, 1, 2, 3, 2, 0, 2)]


ROWS = drawn_rows()


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


# Two numbers of one token each with a comma between, then the end: 3 or 7, 20, 3 or 7, 2.
FORM = Grammar(
    np.asarray([2, 3, 7, 20], np.int32),
    np.asarray(
        [[-1, 1, 1, -1], [-1, -1, -1, 2], [-1, 3, 3, -1], [4, -1, -1, -1], [4, -1, -1, -1]],
        np.int32,
    ),
)


def test_under_a_grammar_what_it_allows_has_all_the_probability():
    rows = [([1, 2], [one, 20, other, 2]) for one in (3, 7) for other in (3, 7)]
    found = logprobs_of(DECODER, tiny_params(), rows, FORM)
    assert sum(np.exp(row.sum()) for row in found) == pytest.approx(1, abs=1e-5)
    for row in found:  # the comma and the end could be no other
        np.testing.assert_allclose(row[[1, 3]], 0, atol=1e-6)
    whole = logprobs_of(DECODER, tiny_params(), rows)
    odds = [row[2] - row[0] for row in (whole[1] - whole[0], found[1] - found[0])]
    assert odds[0] == pytest.approx(odds[1], abs=1e-5)  # 7 against 3 is as it was


@pytest.mark.parametrize("answer", [[4], [3, 3], [3, 20, 3, 20], [2]])
def test_a_row_that_the_grammar_does_not_begin_with_is_any_text(answer):
    rows = [([1, 2], [3, 20, 7, 2]), ([1, 2], answer)]
    found = logprobs_of(DECODER, tiny_params(), rows, FORM)
    for row, grammar in enumerate((FORM, None)):
        (alone,) = logprobs_of(DECODER, tiny_params(), rows[row : row + 1], grammar)
        np.testing.assert_allclose(found[row], alone, atol=1e-5)


def test_an_answer_that_was_cut_has_what_there_is_of_it():
    (found,) = logprobs_of(DECODER, tiny_params(), [([1, 2], [3, 20])], FORM)
    assert found.shape == (2,) and found[0] < 0 == found[1]


def test_a_batch_is_one_shape_a_length():
    rows = [([1, 2, 3, number], [4, 5]) for number in range(9)]
    shapes = {
        jax.tree.map(np.shape, dataclasses.astuple(batch.rows)[:-1])
        for batch in batches_of(rows, CONFIG.max_positions)
    }
    assert len(shapes) == 1


def test_rows_of_a_prompt_stand_together_and_a_dataset_takes_two_sizes():
    counts = 8, 8, 4, 4, 4, 4
    rows = [([number] * 33, [5, 6]) for number, count in enumerate(counts, 1) for _ in range(count)]
    batches = list(batches_of(rows, CONFIG.max_positions))
    sizes = {len(batch.index) // len(batch.rows.prefix) for batch in batches}
    assert sizes == {4, 8}
    # As wide as the longest prompt asks for, and not as all prompts of its bucket may be.
    assert {batch.rows.prefix.shape[1] for batch in batches} == {40}
