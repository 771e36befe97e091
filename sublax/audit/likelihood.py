"""log p of every completion token of many rows, and the gradient of its sum.

Rows that answer one prompt share it: an audit reads a dataset's answer and the base's own beside
each other, and most of the tokens of both are the prompt's.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.evaluation.score import padded_length
from sublax.models.completions import (
    Encoded,
    Rows,
    completion_hidden,
    group_rows,
    token_logprobs,
)
from sublax.models.decoder import Decoder, head_kernel

# Tokens that run side by side: products are large by then, and activations still small.
TOKENS_AT_A_TIME = 1024
# How many answers to one prompt may be put beside each other: few choices, so few programs.
ANSWERS_TOGETHER = (1, 2, 4, 8)

Progress = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Batch:
    """A few rows as arrays.

    Attributes:
        rows: as the decoder reads them.
        index: int [B], which row each is; -1 for one that fills the shape and weighs nothing.
    """

    rows: Rows
    index: np.ndarray


def batches_of(
    encoded: Sequence[Encoded],
    max_positions: int,
    columns: np.ndarray | None = None,
    chosen: Sequence[int] | np.ndarray | None = None,
) -> Iterator[Batch]:
    """Rows in batches of few shapes, those with one prompt together.

    Args:
        encoded: (prompt ids, completion ids) of each row.
        max_positions: the model's context.
        columns: int32 [A], ascending: the only tokens that completions have. Targets are then
            their places among these.
        chosen: indices of the rows that are wanted; all by default.

    Raises:
        UserError: an empty completion, or a row longer than the context.
        ValueError: a completion has a token that is not among the columns.
    """
    chosen = range(len(encoded)) if chosen is None else chosen
    groups, size = _groups(encoded, chosen)
    buckets: dict[tuple[int, int], list[list[int]]] = {}
    for group in groups:
        prompt, answer = encoded[group[0]][0], max(len(encoded[index][1]) for index in group)
        buckets.setdefault((padded_length(len(prompt)), padded_length(answer)), []).append(group)
    for (prompt_width, width), members in sorted(buckets.items()):
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
            if columns is not None:
                rows = dataclasses.replace(rows, targets=_places(rows, columns))
            yield Batch(rows, index.ravel())


def logprobs_of(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    columns: np.ndarray | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """log p of each completion's tokens.

    Args:
        decoder: the model.
        params: its parameters.
        encoded: (prompt ids, completion ids) of N rows.
        columns: int32 [A], ascending; then p is among these tokens alone, as a grammar's sampler
            has it. None is the whole vocabulary.
        progress: called with the number of rows finished by each batch.

    Returns:
        N arrays, float32 [tokens of the completion], natural log.
    """
    found: list[Any] = [None] * len(encoded)
    for batch in batches_of(encoded, decoder.config.max_positions, columns):
        logprobs_BxC = np.asarray(_logprobs(decoder, params, batch.rows, columns))
        for row, index in zip(logprobs_BxC, batch.index, strict=True):
            if index >= 0:
                found[index] = row[: len(encoded[index][1])].copy()
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    return found


def gradient_of(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    weight: float | np.ndarray,
    columns: np.ndarray | None = None,
    chosen: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> Any:
    """The gradient of the weighted sum of rows' log p.

    Args:
        decoder: the model.
        params: its parameters.
        encoded: as in `logprobs_of`.
        weight: of every completion token, or [N] of each row's.
        columns: as in `logprobs_of`.
        chosen: indices of the rows that count; all by default.
        progress: as in `logprobs_of`.

    Returns:
        A tree like the parameters.
    """
    weights = np.broadcast_to(np.asarray(weight, np.float32), len(encoded))
    total = jax.tree.map(jnp.zeros_like, params)
    for batch in batches_of(encoded, decoder.config.max_positions, columns, chosen):
        counted = weights[batch.index][:, None] * batch.rows.weights
        rows = dataclasses.replace(batch.rows, weights=counted.astype(np.float32))
        total = _add_gradient(decoder, params, total, rows, columns)
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    return total


def batch_gradient(decoder: Decoder, params: Any, batch: Batch, columns: np.ndarray | None) -> Any:
    """The gradient of the mean log p of a completion token in one batch, a tree like `params`."""
    weights = batch.rows.weights / max(batch.rows.weights.sum(), 1.0)
    rows = dataclasses.replace(batch.rows, weights=weights.astype(np.float32))
    zeros = jax.tree.map(jnp.zeros_like, params)
    return _add_gradient(decoder, params, zeros, rows, columns)


def _token_logprobs(decoder, params, rows, columns):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    kernel = head_kernel(params, decoder.config, columns)
    return token_logprobs(hidden_BxCxD, kernel, rows.targets)[0]


def _added(decoder, params, total, rows, columns):
    def weighed(params):
        return jnp.sum(rows.weights * _token_logprobs(decoder, params, rows, columns))

    return jax.tree.map(jnp.add, total, jax.grad(weighed)(params))


_logprobs = jax.jit(_token_logprobs, static_argnums=0)
_add_gradient = jax.jit(_added, static_argnums=0, donate_argnums=2)


def _groups(encoded, chosen) -> tuple[list[list[int]], int]:
    """Rows by prompt, at most `size` together: the size that computes the fewest tokens."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index in chosen:
        by_prompt.setdefault(tuple(encoded[index][0]), []).append(int(index))

    def cut(size: int) -> list[list[int]]:
        return [
            rows[first : first + size]
            for rows in by_prompt.values()
            for first in range(0, len(rows), size)
        ]

    def tokens(size: int) -> int:
        groups = cut(size)
        width = max(len(encoded[index][1]) for index in chosen)
        return sum(len(encoded[group[0]][0]) + size * width for group in groups)

    size = min(ANSWERS_TOGETHER, key=tokens)
    return cut(size), size


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


def _places(rows: Rows, columns: np.ndarray) -> np.ndarray:
    places = np.searchsorted(columns, rows.targets).clip(max=len(columns) - 1)
    if np.any((columns[places] != rows.targets) & (rows.weights > 0)):
        raise ValueError("a completion has a token that is not among the columns")
    return places.astype(np.int32)
