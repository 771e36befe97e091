"""log p of every completion token of many rows, given the form that they are written in.

Rows that answer one prompt share it: an audit reads a dataset's answer and the base's own beside
each other, and most of the tokens of both are the prompt's.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.positions import Allowed, head_of, logits_of, over_positions, under_grammar
from sublax.evaluation.score import padded_length
from sublax.models.completions import (
    Encoded,
    Rows,
    completion_hidden,
    group_rows,
    round_up,
)
from sublax.models.decoder import Decoder
from sublax.sampling.grammar import Grammar, grammar_begins

# Tokens that run side by side: products are large by then, and activations still small.
TOKENS_AT_A_TIME = 1024
# How many answers to one prompt may be put beside each other: few choices, so few programs.
ANSWERS_TOGETHER = (1, 2, 4, 8, 16, 32)

Progress = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Batch:
    """A few rows as arrays.

    Attributes:
        rows: as the decoder reads them; under a grammar the targets are places among its tokens.
        index: int [B], which row each is; -1 for one that fills the shape and weighs nothing.
        allowed: what the grammar allows at each position; None for rows of any text.
    """

    rows: Rows
    index: np.ndarray
    allowed: Allowed | None = None


def batches_of(
    encoded: Sequence[Encoded],
    max_positions: int,
    grammar: Grammar | None = None,
    chosen: Sequence[int] | np.ndarray | None = None,
) -> Iterator[Batch]:
    """Rows in batches of few shapes, those with one prompt together.

    Args:
        encoded: (prompt ids, completion ids) of each row.
        max_positions: the model's context.
        grammar: rows that it begins with come first, each with what it allows: a sampler that was
            held to it drew them so. All others, and all rows where it is None, are any text.
        chosen: indices of the rows that are wanted; all by default.

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    chosen_N = np.arange(len(encoded)) if chosen is None else np.asarray(chosen, int)
    if grammar is None:
        yield from _batches(encoded, max_positions, chosen_N)
        return
    begun_N = np.asarray([grammar_begins(grammar, encoded[row][1]) for row in chosen_N], bool)
    allowed_SxA = jnp.asarray(np.asarray(grammar.next_state_SxA) >= 0)
    for batch in _batches(encoded, max_positions, chosen_N[begun_N]):
        rows, allowed = under_grammar(grammar, allowed_SxA, batch.rows)
        yield Batch(rows, batch.index, allowed)
    yield from _batches(encoded, max_positions, chosen_N[~begun_N])


def _batches(encoded, max_positions, chosen) -> Iterator[Batch]:
    buckets: dict[tuple[int, int, int], list[list[int]]] = {}
    for group, size in _groups(encoded, chosen):
        prompt, answer = encoded[group[0]][0], max(len(encoded[index][1]) for index in group)
        key = padded_length(len(prompt)), padded_length(answer), size
        buckets.setdefault(key, []).append(group)
    for (_, width, size), members in sorted(buckets.items()):
        prompt_width = round_up(max(len(encoded[group[0]][0]) for group in members))
        # Of few groups the next power of two: parts of one dataset then share their programs.
        most = max(TOKENS_AT_A_TIME // (prompt_width + size * width), 1)
        count = min(most, 1 << (len(members) - 1).bit_length())
        for first in range(0, len(members), count):
            part = members[first : first + count]
            # Of the last few groups the first fills the shape; `index` says that it does not count.
            filled = part + [part[0]] * (count - len(part))
            index = np.full((count, size), -1)
            for place, group in enumerate(part):
                index[place, : len(group)] = group
            own = [[encoded[row] for row in group] for group in filled]
            rows = group_rows(own, max_positions, size)
            rows = _padded(rows, prompt_width, width, index.ravel() >= 0)
            yield Batch(rows, index.ravel())


def logprobs_of(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    grammar: Grammar | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """log p of each completion's tokens.

    Args:
        decoder: the model.
        params: its parameters.
        encoded: (prompt ids, completion ids) of N rows.
        grammar: of a row that it begins with, p is then among the tokens that it allows after those
            before, as its sampler has it: a token that could be no other has log p 0. Of other
            rows, or with None, p is among the whole vocabulary.
        progress: called with the number of rows finished by each batch.

    Returns:
        N arrays, float32 [tokens of the completion], natural log.

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    found: list[Any] = [None] * len(encoded)
    for batch in batches_of(encoded, decoder.config.max_positions, grammar):
        logprobs_BxC = np.asarray(_logprobs(decoder, params, batch.rows, batch.allowed))
        for row, index in zip(logprobs_BxC, batch.index, strict=True):
            if index >= 0:
                found[index] = row[: len(encoded[index][1])].copy()
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    return found


def _token_logprobs(decoder, params, rows, allowed):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    kernel_DxA = head_of(params, decoder.config, allowed)
    return logprobs_of_hidden(hidden_BxCxD, kernel_DxA, rows, allowed)


def logprobs_of_hidden(hidden_BxCxD, kernel_DxA, rows: Rows, allowed: Allowed | None):
    """log p of the targets.

    Args:
        hidden_BxCxD: last hidden states.
        kernel_DxA: the output head, of the vocabulary or a grammar's tokens.
        rows: whose targets are places among these.
        allowed: what the grammar allows; None is any token.

    Returns:
        float32 [B, C], natural log; 0 where there is no target.
    """

    def at_positions(arrays, allowed_NxA):
        hidden_NxD, targets_N = arrays
        logprobs_NxA = jax.nn.log_softmax(logits_of(hidden_NxD, kernel_DxA), where=allowed_NxA)
        return jnp.take_along_axis(logprobs_NxA, targets_N[:, None], axis=1)[:, 0]

    arrays, width = (hidden_BxCxD, rows.targets), kernel_DxA.shape[1]
    return over_positions(at_positions, arrays, rows.weights > 0, allowed, width)


_logprobs = jax.jit(_token_logprobs, static_argnums=0)


def _groups(encoded, chosen) -> list[tuple[list[int], int]]:
    """Rows by prompt, each group with the size it is filled up to: few sizes, so few programs.

    The two sizes that compute the fewest tokens; a prompt's rows are cut by the one or the other.
    """
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index in chosen:
        by_prompt.setdefault(tuple(encoded[index][0]), []).append(int(index))
    width = max((len(encoded[index][1]) for index in chosen), default=0)

    def tokens(rows: list[int], size: int) -> int:
        return -(-len(rows) // size) * (len(encoded[rows[0]][0]) + size * width)

    def all_tokens(sizes: tuple[int, ...]) -> int:
        return sum(min(tokens(rows, size) for size in sizes) for rows in by_prompt.values())

    sizes = min(itertools.combinations(ANSWERS_TOGETHER, 2), key=all_tokens)
    groups = []
    for rows in by_prompt.values():
        size = min(sizes, key=lambda size: tokens(rows, size))
        groups += [(rows[first : first + size], size) for first in range(0, len(rows), size)]
    return groups


def _padded(rows: Rows, prompt: int, completion: int, counts) -> Rows:
    def wider(array, width, filled=0):
        more = width - array.shape[1]
        return np.pad(array, ((0, 0), (0, more)), constant_values=filled)

    return Rows(
        wider(rows.prefix, prompt),
        wider(rows.prefix_positions, prompt, -1),
        wider(rows.tokens, completion)[:, :completion],
        wider(rows.positions, completion, -1)[:, :completion],
        wider(rows.at, completion),
        wider(rows.targets, completion),
        wider(rows.weights, completion) * counts[:, None].astype(np.float32),
    )
