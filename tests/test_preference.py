"""Closed-form preference against sums over full forward passes, one spelling at a time."""

import numpy as np
import pytest
from tiny_decoder import CONFIG, random_adapter, random_tokens, read_whole, tiny_params

from sublax.errors import UserError
from sublax.evaluation.preference import candidate_logprobs, make_answers
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig

LORA = LoraConfig(rank=2, targets=("k", "gate"))
DECODER = Decoder(CONFIG, LORA)
QUESTIONS = [[9, 4, *np.asarray(random_tokens(n, seed=n)).tolist()] for n in (3, 8, 1)]


@pytest.fixture(scope="module")
def variables():
    return {"params": tiny_params(), "lora": random_adapter(LORA)}


def by_brute_force(variables, spellings):
    """Every spelling written out behind every question, its tokens' log-probabilities summed."""
    flat = [(c, ids) for c, group in enumerate(spellings) for ids in group]
    rows = [question + ids for question in QUESTIONS for _, ids in flat]
    _, logprobs = read_whole(DECODER, variables, rows)
    scores = np.full((len(QUESTIONS), len(spellings)), -np.inf)
    for row, of_row in enumerate(logprobs):
        question, (candidate, ids) = QUESTIONS[row // len(flat)], flat[row % len(flat)]
        at = np.arange(len(ids)) + len(question) - 1
        place = (row // len(flat), candidate)
        scores[place] = np.logaddexp(scores[place], of_row[at, ids].sum())
    return scores


@pytest.mark.parametrize(
    "spellings",
    [
        [[[10]], [[11]], [[12], [13], [14]]],
        [[[10, 20, 30]], [[11], [12, 21]], [[13, 22]]],
    ],
    ids=["single_tokens", "several_tokens"],
)
def test_candidates_are_summed_over_tokens_and_spellings(spellings, variables):
    """Padding of shorter spellings and of shorter questions counts nothing."""
    wanted = by_brute_force(variables, spellings)
    got = candidate_logprobs(DECODER, variables, QUESTIONS, make_answers(spellings))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_what_questions_share_may_be_named_or_found(variables):
    answers = make_answers([[[10]], [[11]], [[12], [13], [14]]])
    found = candidate_logprobs(DECODER, variables, QUESTIONS, answers)
    named = candidate_logprobs(DECODER, variables, QUESTIONS, answers, prefix=[9])
    np.testing.assert_allclose(named, found, atol=1e-4)


def test_every_candidate_needs_a_spelling_and_every_spelling_a_token():
    for spellings in ([[[1]], []], [[[1], []]]):
        with pytest.raises(ValueError, match="every candidate needs a spelling"):
            make_answers(spellings)


def test_a_question_without_room_for_the_answer_is_named(variables):
    questions = [[1, 2], [1] * (CONFIG.max_positions - 1)]
    with pytest.raises(UserError, match=r"row 2: .* context"):
        candidate_logprobs(DECODER, variables, questions, make_answers([[[1, 2]]]))
