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


def attend(q_BxTxHxh, positions_BxT, segments, window):
    """Causal softmax attention of queries over the concatenation of segments.

    A slot is seen when it is not empty, its position is not after the query's, and it lies within
    the window. Softmax runs in float32 over all segments together (Vaswani et al., 2017, eq. 1).

    Args:
        q_BxTxHxh: queries, rotated.
        positions_BxT: int32, the queries' positions; -1 for padding.
        segments: tuples (keys [b, K, h, S], values [b, K, S, h], positions [b, S]).
        window: int32 scalar, how many last positions are seen, the query's own included.

    Returns:
        [B, T, H*h] in the queries' dtype.
    """
    B, T, H, h = q_BxTxHxh.shape
    K = segments[0][0].shape[1]
    q_BxKxGxTxh = q_BxTxHxh.reshape(B, T, K, H // K, h).transpose(0, 2, 3, 1, 4) * h**-0.5
    scores = [
        _scores(q_BxKxGxTxh, positions_BxT, keys, slots, window) for keys, _, slots in segments
    ]
    highest = scores[0].max(-1, keepdims=True)
    for score in scores[1:]:
        highest = jnp.maximum(highest, score.max(-1, keepdims=True))
    highest = jax.lax.stop_gradient(highest)
    weights = [jnp.exp(score - highest) for score in scores]
    total = sum(weight.sum(-1, keepdims=True) for weight in weights)
    mixed = sum(
        _mix(weight.astype(q_BxTxHxh.dtype), values)
        for weight, (_, values, _) in zip(weights, segments, strict=True)
    )
    out_BxKxGxTxh = (mixed / total).astype(q_BxTxHxh.dtype)
    return out_BxKxGxTxh.transpose(0, 3, 1, 2, 4).reshape(B, T, H * h)


def _scores(q_BxKxGxTxh, positions_BxT, keys_bxKxhxS, slots_bxS, window):
    """Masked products of queries and one segment's keys, float32 [B, K, G, T, S]."""
    B, K, G, T, h = q_BxKxGxTxh.shape
    b, S = slots_bxS.shape
    grouped = q_BxKxGxTxh.reshape(b, B // b, K, G, T, h)
    if T == 1 and b == B:
        product = jax.lax.platform_dependent(
            grouped, keys_bxKxhxS, cpu=_query_by_reduction, default=_query_by_matmul
        )
    else:
        product = _query_by_matmul(grouped, keys_bxKxhxS)
    queries = positions_BxT.reshape(b, B // b, T)[:, :, None, None, :, None]
    slots = slots_bxS[:, None, None, None, None, :]
    seen = (slots >= 0) & (slots <= queries) & (queries - slots < window)
    return jnp.where(seen, product, MASKED).reshape(B, K, G, T, S)


def _mix(weights_BxKxGxTxS, values_bxKxSxh):
    """Sum of one segment's values under the weights, float32 [B, K, G, T, h]."""
    B, K, G, T, S = weights_BxKxGxTxS.shape
    b, h = values_bxKxSxh.shape[0], values_bxKxSxh.shape[-1]
    grouped = weights_BxKxGxTxS.reshape(b, B // b, K, G, T, S)
    if T == 1 and b == B:
        mixed = jax.lax.platform_dependent(
            grouped, values_bxKxSxh, cpu=_value_by_reduction, default=_value_by_matmul
        )
    else:
        mixed = _value_by_matmul(grouped, values_bxKxSxh)
    return mixed.reshape(B, K, G, T, h)


def _query_by_matmul(q, keys):
    return jnp.einsum("bnkgth,bkhs->bnkgts", q, keys, preferred_element_type=jnp.float32)


def _value_by_matmul(weights, values):
    return jnp.einsum("bnkgts,bksh->bnkgth", weights, values, preferred_element_type=jnp.float32)


# One query against its own row's slots is a batch of matrix-vector products. XLA's CPU backend
# calls a library once for each of them; written as multiply and reduce, they fuse into one loop.
def _query_by_reduction(q, keys):
    product = q[:, 0, :, :, 0, :, None] * keys[:, :, None, :, :]  # [b, K, G, h, S]
    return product.sum(axis=3, dtype=jnp.float32)[:, None, :, :, None, :]


def _value_by_reduction(weights, values):
    product = weights[:, 0, :, :, 0, :, None] * values[:, :, None, :, :]  # [b, K, G, S, h]
    return product.sum(axis=3, dtype=jnp.float32)[:, None, :, :, None, :]
