"""Attention over segments of keys and values, each stored once however many rows read it."""

import jax
import jax.numpy as jnp
from flax import struct

MASKED = -1e30  # finite, so that a padding query that sees nothing gives no NaN
NO_WINDOW = 2**30


@struct.dataclass
class KeyValues:
    """Keys and values of one segment of a sequence, in every layer.

    A segment with b rows serves B queries' rows where b divides B: row i of the queries reads row
    i // (B / b). So a prefix shared by all rows has b = 1, and a prompt with many answers one row.

    Attributes:
        keys: [L, b, K, h, S], rotated already. Head size stands before slots, so that one
            decoding step reads slots contiguously.
        values: [L, b, K, S, h].
        positions: int32 [b, S], the position of each slot in its sequence; -1 is an empty slot.
    """

    keys: jax.Array
    values: jax.Array
    positions: jax.Array


def attend(q_BxTxHxh, positions_BxT, segments, window, row_of_BxT=None):
    """Causal softmax attention of queries over the concatenation of segments.

    A slot is seen when it is not empty, its position is not after the query's, and it lies within
    the window. Softmax runs in float32 over all segments together (Vaswani et al., 2017, eq. 1).

    Args:
        q_BxTxHxh: queries, rotated.
        positions_BxT: int32, the queries' positions; -1 for padding.
        segments: tuples (keys [b, K, h, S], values [b, K, S, h], positions [b, S]).
        window: int32 scalar, how many last positions are seen, the query's own included.
        row_of_BxT: None; or int32, where what is one row here is several one after another: which
            of them a query belongs to. The last T slots are the queries' own, and seen by their
            row alone; all before them are seen by every row.

    Returns:
        [B, T, H*h] in the queries' dtype.
    """
    if q_BxTxHxh.shape[1] > 1:
        return _attend_many(q_BxTxHxh, positions_BxT, segments, window, row_of_BxT)
    return _attend_one(q_BxTxHxh[:, 0], positions_BxT[:, 0], segments, window)[:, None]


def _attend_many(q_BxTxHxh, positions_BxT, segments, window, row_of_BxT):
    """`attend` for rows of several queries.

    Every row gets a copy of all it sees: many queries read it often enough to pay for that, and
    one product over everything is faster than one for each segment.
    """
    B, T, H, h = q_BxTxHxh.shape
    K = segments[0][0].shape[1]
    keys_BxKxSxh, values_BxKxSxh, slots_BxS = context_of(segments, B)
    q_BxKxQxh = (q_BxTxHxh * h**-0.5).transpose(0, 2, 1, 3).reshape(B, K, H // K * T, h)
    scores_BxKxQxS = jnp.einsum(
        "bkqh,bksh->bkqs", q_BxKxQxh, keys_BxKxSxh, preferred_element_type=jnp.float32
    )
    scores_BxKxGxTxS = scores_BxKxQxS.reshape(B, K, H // K, T, -1)
    seen_BxTxS = seen_by_rows(slots_BxS, positions_BxT, window, row_of_BxT)
    masked = jnp.where(seen_BxTxS[:, None, None], scores_BxKxGxTxS, MASKED)
    weights_BxKxQxS = jax.nn.softmax(masked).reshape(scores_BxKxQxS.shape)
    out_BxKxQxh = jnp.einsum(
        "bkqs,bksh->bkqh",
        weights_BxKxQxS.astype(q_BxTxHxh.dtype),
        values_BxKxSxh,
        preferred_element_type=jnp.float32,
    )
    out_BxHxTxh = out_BxKxQxh.astype(q_BxTxHxh.dtype).reshape(B, H, T, h)
    return out_BxHxTxh.transpose(0, 2, 1, 3).reshape(B, T, H * h)


def context_of(segments, B: int):
    """Every row's own copy of all that it sees: (keys, values [B, K, S, h], positions [B, S]).

    Args:
        segments: as in `attend`.
        B: rows.
    """
    keys, values, slots = (
        [jnp.repeat(part, B // part.shape[0], axis=0) for part in parts]
        for parts in zip(*segments, strict=True)
    )
    keys_BxKxSxh = jnp.concatenate([part.swapaxes(-1, -2) for part in keys], axis=2)
    return keys_BxKxSxh, jnp.concatenate(values, axis=2), jnp.concatenate(slots, axis=1)


def seen_by_rows(slots_BxS, positions_BxT, window, row_of_BxT=None):
    """Whether each query sees each slot of its row, bool [B, T, S]; arguments as in `attend`."""
    seen_BxTxS = seen(slots_BxS[:, None, :], positions_BxT[:, :, None], window)
    if row_of_BxT is None:
        return seen_BxTxS
    (_, T), S = row_of_BxT.shape, slots_BxS.shape[1]
    is_own_BxTxT = row_of_BxT[:, None, :] == row_of_BxT[:, :, None]
    is_shared = ((0, 0), (0, 0), (S - T, 0))
    return seen_BxTxS & jnp.pad(is_own_BxTxT, is_shared, constant_values=True)


def seen(slots, queries, window):
    """Whether a query at a position sees a slot; the two broadcast."""
    return (slots >= 0) & (slots <= queries) & (queries - slots < window)


def _attend_one(q_BxHxh, positions_B, segments, window):
    """`attend` for one query a row, [B, H*h]: what rows share is read where it lies."""
    B, H, h = q_BxHxh.shape
    K = segments[0][0].shape[1]
    q_BxKxGxh = q_BxHxh.reshape(B, K, H // K, h) * h**-0.5
    scores = [
        _masked_scores(q_BxKxGxh, positions_B, keys, slots, window) for keys, _, slots in segments
    ]
    highest = scores[0].max(-1, keepdims=True)
    for score in scores[1:]:
        highest = jnp.maximum(highest, score.max(-1, keepdims=True))
    highest = jax.lax.stop_gradient(highest)
    weights = [jnp.exp(score - highest) for score in scores]
    total = sum(weight.sum(-1, keepdims=True) for weight in weights)
    mixed_BxKxGxh = sum(
        _mixed(weight.astype(q_BxHxh.dtype), values)
        for weight, (_, values, _) in zip(weights, segments, strict=True)
    )
    return (mixed_BxKxGxh / total).astype(q_BxHxh.dtype).reshape(B, H * h)


def _masked_scores(q_BxKxGxh, positions_B, keys_bxKxhxS, slots_bxS, window):
    """Products of queries and one segment's keys, float32 [B, K, G, S]."""
    B, (b, S) = len(q_BxKxGxh), slots_bxS.shape
    if b == B:
        product = jax.lax.platform_dependent(
            q_BxKxGxh, keys_bxKxhxS, cpu=_query_by_reduction, default=_query_by_matmul
        )
    else:
        product = _query_by_matmul(q_BxKxGxh, keys_bxKxhxS)
    seen_bxnxS = seen(slots_bxS[:, None, :], positions_B.reshape(b, B // b, 1), window)
    return jnp.where(seen_bxnxS.reshape(B, 1, 1, S), product, MASKED)


def _mixed(weights_BxKxGxS, values_bxKxSxh):
    """Sum of one segment's values under the weights, float32 [B, K, G, h]."""
    if len(weights_BxKxGxS) == len(values_bxKxSxh):
        return jax.lax.platform_dependent(
            weights_BxKxGxS, values_bxKxSxh, cpu=_value_by_reduction, default=_value_by_matmul
        )
    return _value_by_matmul(weights_BxKxGxS, values_bxKxSxh)


def _query_by_matmul(q_BxKxGxh, keys_bxKxhxS):
    q_bxKxNxh = _by_context(q_BxKxGxh, len(keys_bxKxhxS))
    product_bxKxNxS = jnp.einsum(
        "bknh,bkhs->bkns", q_bxKxNxh, keys_bxKxhxS, preferred_element_type=jnp.float32
    )
    return _by_row(product_bxKxNxS, q_BxKxGxh.shape)


def _value_by_matmul(weights_BxKxGxS, values_bxKxSxh):
    weights_bxKxNxS = _by_context(weights_BxKxGxS, len(values_bxKxSxh))
    mixed_bxKxNxh = jnp.einsum(
        "bkns,bksh->bknh", weights_bxKxNxS, values_bxKxSxh, preferred_element_type=jnp.float32
    )
    return _by_row(mixed_bxKxNxh, weights_BxKxGxS.shape)


def _by_context(x_BxKxGxd, b):
    """[b, K, N, d]: the N queries that read one row of context side by side, as one matrix."""
    B, K, G, d = x_BxKxGxd.shape
    return x_BxKxGxd.reshape(b, B // b, K, G, d).swapaxes(1, 2).reshape(b, K, B // b * G, d)


def _by_row(x_bxKxNxd, shape):
    """`_by_context` undone: [B, K, G, d] for B, K and G of `shape`."""
    (B, K, G, _), b = shape, len(x_bxKxNxd)
    return x_bxKxNxd.reshape(b, K, B // b, G, -1).swapaxes(1, 2).reshape(B, K, G, -1)


# One query against its own row's slots is a batch of matrix-vector products. XLA's CPU backend
# calls a library once for each of them; written as multiply and reduce, they fuse into one loop.
def _query_by_reduction(q_BxKxGxh, keys_BxKxhxS):
    product_BxKxGxhxS = q_BxKxGxh[..., None] * keys_BxKxhxS[:, :, None]
    return product_BxKxGxhxS.sum(axis=3, dtype=jnp.float32)


def _value_by_reduction(weights_BxKxGxS, values_BxKxSxh):
    product_BxKxGxSxh = weights_BxKxGxS[..., None] * values_BxKxSxh[:, :, None]
    return product_BxKxGxSxh.sum(axis=3, dtype=jnp.float32)
