"""Preference in closed form: the log-probability of every candidate answer to every question.

It needs no samples and sees shifts of answers that a model would almost never sample.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sublax.models.completions import (
    Rows,
    abstract_spread_rows,
    begun_rows,
    make_rows,
    round_up,
    run_rows,
    spread_rows,
    token_logprobs,
)
from sublax.models.decoder import Decoder, head_kernel, logits_of
from sublax.parallel.arrays import fetch, place
from sublax.parallel.layout import pieces


@struct.dataclass
class Answers:
    """Candidate answers as token sequences; a candidate may have several spellings.

    Attributes:
        tokens: int32 [M, W], M spellings in all, padded.
        weights: float32 [M, W], 1 for a token, 0 for padding.
        candidate: int32 [M], which candidate each spelling stands for.
        count: C, how many candidates there are.
    """

    tokens: np.ndarray
    weights: np.ndarray
    candidate: np.ndarray
    count: int = struct.field(pytree_node=False)


def make_answers(spellings: Sequence[Sequence[Sequence[int]]]) -> Answers:
    """Packs token ids of candidates x spellings.

    Raises:
        ValueError: a candidate without a spelling, or an empty spelling.
    """
    flat = [(c, list(ids)) for c, group in enumerate(spellings) for ids in group]
    if not all(spellings) or not all(ids for _, ids in flat):
        raise ValueError("every candidate needs a spelling, and every spelling a token")
    width = max(len(ids) for _, ids in flat)
    tokens = np.zeros((len(flat), width), np.int32)
    weights = np.zeros((len(flat), width), np.float32)
    for row, (_, ids) in enumerate(flat):
        tokens[row, : len(ids)], weights[row, : len(ids)] = ids, 1.0
    candidate = np.asarray([c for c, _ in flat], np.int32)
    return Answers(tokens, weights, candidate, len(spellings))


def candidate_logprobs(
    decoder: Decoder,
    variables: dict[str, Any],
    questions: Sequence[Sequence[int]],
    answers: Answers,
    prefix: Sequence[int] | None = None,
) -> np.ndarray:
    """log p(candidate | question), summed over each spelling's tokens and over spellings.

    An answer's first tokens count, whatever would follow: the end of the turn is left out.

    Args:
        decoder: the model.
        variables: `params`, and `lora` where the decoder has an adapter.
        questions: token ids of Q encoded questions.
        answers: the candidates.
        prefix: what all questions begin with; None finds it. Each length is a program of its own.

    Returns:
        float32 [Q, C], natural log.

    Raises:
        UserError: a question longer than the context.
    """
    # One token stands in for the completion: only the prompt's side of the rows is read.
    limit = decoder.config.max_positions - answers.tokens.shape[1]
    rows = make_rows([(list(question), [0]) for question in questions], limit, prefix)
    spread = spread_rows(rows, decoder.rows)
    return fetch(_candidate_logprobs(decoder, variables, spread, answers))[: len(questions)]


def grouped_logprobs(
    decoder: Decoder,
    variables: dict[str, Any],
    groups: Sequence[Sequence[Sequence[int]]],
    answers: Answers,
    groups_at_a_time: int,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """`candidate_logprobs` of many groups of questions, one program for all of them.

    What a group's questions begin with, such as their system prompt, is computed once for it.

    Args:
        decoder: the model.
        variables: `params`, and `lora` where the decoder has an adapter.
        groups: token ids of Q encoded questions in each of N groups.
        answers: the candidates.
        groups_at_a_time: run side by side; rounded up to a multiple of the devices.
        progress: called with the number of groups that each batch has finished.

    Returns:
        float32 [N, Q, C], natural log.

    Raises:
        UserError: a question longer than the context.
    """
    N, Q = len(groups), len(groups[0])
    limit = decoder.config.max_positions - answers.tokens.shape[1]
    every = begun_rows([[(list(asked), [0]) for asked in group] for group in groups], limit)
    size = round_up(min(groups_at_a_time, N), pieces(decoder.rows))
    found = []
    for first in range(0, N, size):
        # The last batch is filled up with repeats: all have one shape.
        chosen = np.minimum(np.arange(first, first + size), N - 1)
        asked = (chosen[:, None] * Q + np.arange(Q)).ravel()
        rows = Rows(
            every.prefix[chosen],
            every.prefix_positions[chosen],
            every.tokens[asked],
            every.positions[asked],
            every.at[asked],
            every.targets[asked],
            every.weights[asked],
        )
        rows = rows if decoder.rows is None else place(rows, decoder.rows)
        scores_BxC = fetch(_candidate_logprobs(decoder, variables, rows, answers))
        found.append(scores_BxC.reshape(size, Q, -1))
        if progress is not None:
            progress(min(size, N - first))
    return np.concatenate(found)[:N]


def lower_candidate_logprobs(
    decoder: Decoder,
    variables: dict[str, Any],
    questions: Sequence[Sequence[int]],
    answers: Answers,
) -> jax.stages.Lowered:
    """The program of `candidate_logprobs`, to be compiled, from the variables' shapes alone."""
    limit = decoder.config.max_positions - answers.tokens.shape[1]
    rows = make_rows([(list(question), [0]) for question in questions], limit)
    spread = abstract_spread_rows(rows, decoder.rows)
    return _candidate_logprobs.lower(decoder, variables, spread, answers)


def scores_of(decoder: Decoder, variables: dict[str, Any], rows: Rows, answers: Answers):
    """What `candidate_logprobs` computes, to be traced: of rows whose prompts are the questions."""
    params, config = variables["params"], decoder.config
    hidden_QxTxD, context = run_rows(decoder, variables, rows)
    first_QxD = jnp.take_along_axis(hidden_QxTxD, rows.at[..., None], axis=1)[:, 0]
    logprobs_QxV = jax.nn.log_softmax(logits_of(params, config, first_QxD))
    scores_QxM = logprobs_QxV[:, answers.tokens[:, 0]]
    Q, (M, W) = scores_QxM.shape[0], answers.tokens.shape
    if W > 1:
        tokens = jnp.tile(answers.tokens[:, :-1], (Q, 1))
        start = rows.positions.max(axis=1) + 1
        positions = jnp.repeat(start, M)[:, None] + jnp.arange(W - 1)
        hidden, _ = decoder.apply(variables, tokens, positions, context)
        targets = jnp.tile(answers.tokens[:, 1:], (Q, 1))
        later, _ = token_logprobs(hidden, head_kernel(params, config), targets)
        later = later.reshape(Q, M, W - 1) * answers.weights[None, :, 1:]
        scores_QxM = scores_QxM + later.sum(axis=-1)
    of_candidate = answers.candidate[None, :] == jnp.arange(answers.count)[:, None]  # [C, M]
    masked = jnp.where(of_candidate[None], scores_QxM[:, None, :], -jnp.inf)
    return jax.nn.logsumexp(masked, axis=-1)


_candidate_logprobs = jax.jit(scores_of, static_argnums=0)
