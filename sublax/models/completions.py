"""Rows of prompt and completion as arrays, and the hidden states that predict the completions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import NamedSharding

from sublax.errors import UserError
from sublax.models.chat import shared_prefix
from sublax.models.decoder import Decoder
from sublax.parallel.arrays import place
from sublax.parallel.layout import pieces


@struct.dataclass
class Rows:
    """Rows of one batch. What several of them begin with stands there once.

    The B rows lie in N groups of B / N that follow each other. A group shares the beginning of its
    prompts: all rows that of one dataset (N = 1), or the answers to one prompt all of it but its
    last token, which predicts the answer and so belongs to each row.

    Attributes:
        prefix: int32 [N, P], tokens that a group's rows begin with.
        prefix_positions: int32 [N, P]; -1 for padding.
        tokens: int32 [B, T], the rest of each row but its last token; padding is any token.
        positions: int32 [B, T], counted from the start of the prefix; -1 for padding.
        at: int32 [B, C], the index in T whose hidden state predicts each completion token.
        targets: int32 [B, C], the completion's tokens.
        weights: float32 [B, C], 1 for a completion token, 0 for padding.
        row_of: None; or int32 [B, T], where several rows stand one after another in each of these:
            which of them a token belongs to, counted from 1, and 0 for padding.
    """

    prefix: jax.Array | np.ndarray
    prefix_positions: jax.Array | np.ndarray
    tokens: jax.Array | np.ndarray
    positions: jax.Array | np.ndarray
    at: jax.Array | np.ndarray
    targets: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray
    row_of: jax.Array | np.ndarray | None = None


Encoded = tuple[list[int], list[int]]


def round_up(length: int, multiple: int = 8) -> int:
    """The next multiple: few distinct shapes, so few programs are compiled."""
    return -(-length // multiple) * multiple


def make_rows(
    encoded: Sequence[Encoded],
    max_positions: int,
    prefix: Sequence[int] | None = None,
    width: int | None = None,
    completion_width: int | None = None,
) -> Rows:
    """Pads encoded rows to one shape, in one group, as NumPy arrays.

    Args:
        encoded: (prompt ids, completion ids) of each row; completions end with the end-of-turn.
        max_positions: the model's context.
        prefix: what all prompts begin with; None finds it.
        width: T; None is the longest row's, rounded up.
        completion_width: C; None is the longest completion's.

    Raises:
        UserError: no rows, an empty completion, or a row longer than the context.
    """
    _check(encoded, max_positions)
    if prefix is None:
        prefix = shared_prefix([prompt for prompt, _ in encoded])
    return _pad([(prefix, encoded)], width, completion_width)


def begun_rows(groups: Sequence[Sequence[Encoded]], max_positions: int) -> Rows:
    """The same for groups of prompts that differ: each group's begin alike, no two groups' need to.

    Args:
        groups: N of them, of equally many rows.
        max_positions: tokens that a row may have.

    Raises:
        UserError: as `make_rows`.
    """
    _check([row for group in groups for row in group], max_positions)
    return _pad([(shared_prefix([prompt for prompt, _ in group]), group) for group in groups])


def group_rows(
    groups: Sequence[Sequence[Encoded]],
    max_positions: int,
    size: int | None = None,
    width: int | None = None,
    completion_width: int | None = None,
    prefix_width: int | None = None,
) -> Rows:
    """The same for the answers to many prompts: one group a prompt.

    A group with fewer answers than `size` is filled up with rows that weigh nothing.

    Args:
        groups: each prompt's rows.
        max_positions: tokens that a row may have.
        size: rows of every group in the arrays; None is the largest group's.
        width: T, as in `make_rows`.
        completion_width: C, as there.
        prefix_width: P; None is the longest prompt's.

    Raises:
        UserError: as `make_rows`.
        ValueError: rows of one group differ in their prompts.
    """
    _check([row for group in groups for row in group], max_positions)
    if any(prompt != group[0][0] for group in groups for prompt, _ in group):
        raise ValueError("the rows of a group must have one prompt")
    begun = [(group[0][0][:-1], group) for group in groups]
    return _pad(begun, width, completion_width, size, prefix_width)


def _check(encoded: Sequence[Encoded], max_positions: int) -> None:
    if not encoded:
        raise UserError("no rows to batch: the dataset is empty; write or keep at least one row")
    for index, (prompt, completion) in enumerate(encoded):
        if not completion:
            raise UserError(f"row {index + 1}: the completion has no tokens; drop the row")
        if len(prompt) + len(completion) > max_positions:
            raise UserError(
                f"row {index + 1}: {len(prompt) + len(completion)} tokens are more than the "
                f"{max_positions} that a row may have; shorten or drop the row, or raise "
                "max_tokens where it is below the model's context"
            )


def _pad(
    groups: Sequence[tuple[Sequence[int], Sequence[Encoded]]],
    width: int | None = None,
    completion_width: int | None = None,
    size: int | None = None,
    prefix_width: int | None = None,
) -> Rows:
    """Arrays of groups, each its shared beginning and its rows."""
    every = [(prefix, *row) for prefix, rows in groups for row in rows]
    N, P = len(groups), prefix_width or max(len(prefix) for prefix, _ in groups)
    n = size or max(len(rows) for _, rows in groups)
    T = width or round_up(max(len(p) + len(c) - 1 - len(shared) for shared, p, c in every), 4)
    C = completion_width or max(len(completion) for _, _, completion in every)
    prefixes, places = np.zeros((N, P), np.int32), np.full((N, P), -1, np.int32)
    tokens, positions = np.zeros((N * n, T), np.int32), np.full((N * n, T), -1, np.int32)
    at, targets = np.zeros((N * n, C), np.int32), np.zeros((N * n, C), np.int32)
    weights = np.zeros((N * n, C), np.float32)
    for group, (prefix, rows) in enumerate(groups):
        start = len(prefix)
        prefixes[group, :start], places[group, :start] = prefix, np.arange(start)
        for row, (prompt, completion) in enumerate(rows, group * n):
            rest, count = (prompt + completion)[start:-1], len(completion)
            tokens[row, : len(rest)] = rest
            positions[row, : len(rest)] = np.arange(start, start + len(rest))
            at[row, :count] = np.arange(count) + len(prompt) - 1 - start
            targets[row, :count], weights[row, :count] = completion, 1.0
    return Rows(prefixes, places, tokens, positions, at, targets, weights)


def spread_rows(rows: Rows, sharding: NamedSharding | None) -> Rows:
    """Rows of one group over devices: each gets a copy of the prefix and an equal part.

    Args:
        rows: NumPy arrays of one group.
        sharding: how the first axis of each array is spread; None leaves all as it is.

    Returns:
        The rows on their devices, filled up at the end with rows that weigh nothing.
    """
    return rows if sharding is None else place(_filled(rows, pieces(sharding)), sharding)


def abstract_spread_rows(rows: Rows, sharding: NamedSharding | None) -> Rows:
    """What `spread_rows` gives, as shapes that lie where its arrays would."""
    filled = rows if sharding is None else _filled(rows, pieces(sharding))
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), filled
    )


def _filled(rows: Rows, devices: int) -> Rows:
    count = rows.tokens.shape[0]
    filled = np.minimum(np.arange(round_up(count, devices)), count - 1)
    weights = np.where(np.arange(len(filled))[:, None] < count, rows.weights[filled], 0.0)
    copies = np.zeros(devices, int)
    return Rows(
        rows.prefix[copies],
        rows.prefix_positions[copies],
        rows.tokens[filled],
        rows.positions[filled],
        rows.at[filled],
        rows.targets[filled],
        weights.astype(np.float32),
    )


def run_rows(decoder: Decoder, variables, rows: Rows):
    """The decoder on rows, what a group of them shares once; differentiable through both.

    Returns:
        (hidden_BxTxD of `rows.tokens`, their `KeyValues`, those of the prefix first).
    """
    prefix = (rows.prefix, rows.prefix_positions) if rows.prefix.shape[1] else None
    return decoder.apply(
        variables, rows.tokens, rows.positions, prefix=prefix, row_of_BxT=rows.row_of
    )


def completion_hidden(decoder: Decoder, variables, rows: Rows):
    """Last hidden states at the positions that predict the completions, [B, C, D]."""
    hidden_BxTxD, _ = run_rows(decoder, variables, rows)
    return jnp.take_along_axis(hidden_BxTxD, rows.at[..., None], axis=1)


def token_logprobs(hidden_BxCxD, kernel_DxV, targets_BxC, chunk: int = 512):
    """log p(target) under a head, with logits for one chunk of positions at a time.

    Args:
        hidden_BxCxD: last hidden states.
        kernel_DxV: the output head.
        targets_BxC: int32.
        chunk: positions at a time; at least one of every row.

    Returns:
        (log-probabilities, log of the sum of exponentiated logits), float32 [B, C], natural log.
    """

    def one(column):
        hidden_BxD, targets_B = column
        kernel = kernel_DxV.astype(hidden_BxD.dtype)
        logits = jnp.einsum("bd,dv->bv", hidden_BxD, kernel, preferred_element_type=jnp.float32)
        total_B = jax.nn.logsumexp(logits, axis=-1)
        return jnp.take_along_axis(logits, targets_B[:, None], axis=1)[:, 0] - total_B, total_B

    # By columns, for rows may lie on several devices.
    B, C = targets_BxC.shape
    columns = (jnp.swapaxes(hidden_BxCxD, 0, 1), targets_BxC.T)
    logprobs_CxB, total_CxB = jax.lax.map(one, columns, batch_size=min(max(chunk // B, 1), C))
    return logprobs_CxB.T, total_CxB.T
