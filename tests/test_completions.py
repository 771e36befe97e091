"""Rows as arrays: what is shared stands once, and every completion token has its hidden state."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_decoder import CONFIG, random_tokens, read_whole, tiny_params

from sublax.errors import UserError
from sublax.models.completions import completion_hidden, group_rows, make_rows
from sublax.models.decoder import Decoder

DECODER = Decoder(CONFIG)


def rows_as_lists(rows):
    return {
        field.name: np.asarray(getattr(rows, field.name)).tolist()
        for field in dataclasses.fields(rows)
        if getattr(rows, field.name) is not None
    }


def test_rows_of_one_dataset():
    """The last token is a target only; what all prompts begin with stands there once."""
    rows = make_rows([([1, 2, 3, 4], [5, 6]), ([1, 2, 7], [8])], max_positions=6, width=4)
    assert rows_as_lists(rows) == {
        "prefix": [[1, 2]],
        "prefix_positions": [[0, 1]],
        "tokens": [[3, 4, 5, 0], [7, 0, 0, 0]],
        "positions": [[2, 3, 4, -1], [2, -1, -1, -1]],
        "at": [[1, 2], [0, 0]],
        "targets": [[5, 6], [8, 0]],
        "weights": [[1, 1], [1, 0]],
    }


def test_answers_to_prompts_in_groups():
    """A group's prompt stands once but for its last token; a missing answer weighs nothing."""
    groups = [[([1, 2, 3], [4, 5]), ([1, 2, 3], [6])], [([7, 8], [9])]]
    rows = rows_as_lists(group_rows(groups, max_positions=5))
    rows["tokens"] = [row[:3] for row in rows["tokens"]]  # rounded up to 8
    rows["positions"] = [row[:3] for row in rows["positions"]]
    assert rows == {
        "prefix": [[1, 2], [7, 0]],
        "prefix_positions": [[0, 1], [0, -1]],
        "tokens": [[3, 4, 0], [3, 0, 0], [8, 0, 0], [0, 0, 0]],
        "positions": [[2, 3, -1], [2, -1, -1], [1, -1, -1], [-1, -1, -1]],
        "at": [[0, 1], [0, 0], [0, 0], [0, 0]],
        "targets": [[4, 5], [6, 0], [9, 0], [0, 0]],
        "weights": [[1, 1], [1, 0], [1, 0], [0, 0]],
    }


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ([], "no rows to batch"),
        ([([1], [2]), ([1], [])], "row 2: the completion has no tokens"),
        (
            [([1], [2]), ([1, 2, 3], [4, 5, 6])],
            "row 2: 6 tokens are more than the 5 that a row may have",
        ),
    ],
    ids=["no_rows", "empty_completion", "too_long"],
)
def test_rows_that_cannot_be_trained_on_are_named(encoded, message):
    with pytest.raises(UserError, match=message):
        make_rows(encoded, max_positions=5)
    with pytest.raises(UserError, match=message):
        group_rows([[row] for row in encoded], max_positions=5)


def test_a_group_has_one_prompt():
    with pytest.raises(ValueError, match="must have one prompt"):
        group_rows([[([1, 2], [3]), ([1, 9], [3])]], max_positions=9)


def test_hidden_states_of_completions_are_those_of_whole_rows():
    """Whether nothing, a common beginning or each prompt is shared."""
    rng = np.random.default_rng(0)
    groups = []
    for length in (2, 5, 3):
        prompt = [5, 6, *np.asarray(random_tokens(length, seed=length)).tolist()]
        counts = rng.integers(1, 5, rng.integers(1, 4))
        groups.append([(prompt, rng.integers(0, 50, count).tolist()) for count in counts])
    encoded = [row for group in groups for row in group]
    variables = {"params": tiny_params()}
    whole, _ = read_whole(DECODER, variables, [p + c for p, c in encoded])
    wanted = [whole[row, len(p) - 1 : len(p) + len(c) - 1] for row, (p, c) in enumerate(encoded)]
    hidden_of = jax.jit(lambda variables, rows: completion_hidden(DECODER, variables, rows))
    for rows in (
        make_rows(encoded, CONFIG.max_positions, prefix=[]),
        make_rows(encoded, CONFIG.max_positions),
        group_rows(groups, CONFIG.max_positions),
    ):
        hidden = np.asarray(hidden_of(variables, rows))
        got = [states[weight > 0] for states, weight in zip(hidden, rows.weights, strict=True)]
        for states, of_row in zip([s for s in got if len(s)], wanted, strict=True):
            np.testing.assert_allclose(states, of_row, atol=2e-5)
