"""Attention by JAX's splash kernel for TPU (Pallas): by blocks, so scores are never stored."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

LANES = 128  # what sequences and heads are filled up to a multiple of
LARGEST_BLOCK = 1024
# By this name a `jax.checkpoint` policy keeps what the backward kernels read of the forward ones.
KEPT_NAME = "mixed"


def splash_attention(
    q_BxTxHxh,
    positions_BxT,
    keys_BxKxSxh,
    values_BxKxSxh,
    slots_BxS,
    window,
    row_of_BxT=None,
    interpret=False,
):
    """Causal softmax attention of the last T tokens of rows of S slots, without windows.

    The kernel goes by the order of slots, not by positions: a query sees the slots up to its own
    that are not empty.

    Args:
        q_BxTxHxh: queries, rotated.
        positions_BxT: int32; -1 for padding.
        keys_BxKxSxh: rotated; K divides H.
        values_BxKxSxh: as the keys.
        slots_BxS: int32, the slots' positions, -1 for an empty one; the last T are the queries'.
        window: not looked at; the callers' check says that it hides nothing.
        row_of_BxT: as in `attend`, where S is T: the kernel knows no slot that all rows see.
        interpret: runs it without a TPU, slowly.

    Returns:
        [B, T, H, h] in the queries' dtype; of a padding query, something finite.

    Raises:
        ValueError: several rows in one, and slots that all of them see.
    """
    del window
    (_, T, H, h), S = q_BxTxHxh.shape, slots_BxS.shape[1]
    if row_of_BxT is not None and S > T:
        raise ValueError("splash keeps rows of one line apart only where they share no beginning")
    numbers_BxT, numbers_BxS = positions_BxT >= 0, slots_BxS >= 0
    if row_of_BxT is not None:
        numbers_BxT = numbers_BxS = row_of_BxT
    # Queries and slots are filled up alike at the end, so that each query, a filling one too, has
    # its own slot to see; the rest goes before the first slot.
    after = -T % LANES
    before, wide = -(S + after) % LANES, -h % LANES
    of_slots = (before, after)
    q_BxHxTxh = (q_BxTxHxh * h**-0.5).swapaxes(1, 2)
    q_BxHxTxh = jnp.pad(q_BxHxTxh, ((0, 0), (0, 0), (0, after), (0, wide)))
    keys_BxKxSxh, values_BxKxSxh = (
        jnp.pad(part, ((0, 0), (0, 0), of_slots, (0, wide)))
        for part in (keys_BxKxSxh, values_BxKxSxh)
    )
    # What is there sees what is there; fillings see each other, and nobody reads what they find.
    of_rows = splash.SegmentIds(
        jnp.pad(numbers_BxT.astype(jnp.int32), ((0, 0), (0, after))),
        jnp.pad(numbers_BxS.astype(jnp.int32), ((0, 0), of_slots)),
    )
    kernel = _kernel(H, T + after, before + S + after, interpret)
    mixed_BxHxTxh = jax.vmap(kernel)(q_BxHxTxh, keys_BxKxSxh, values_BxKxSxh, of_rows)
    return mixed_BxHxTxh[:, :, :T, :h].swapaxes(1, 2)


def _kernel(H: int, T: int, S: int, interpret: bool):
    """The kernel of H heads for the last T of S slots, both multiples of `LANES`."""
    q, kv = _block(T), _block(S)
    return splash.make_splash_mha(
        splash.MultiHeadMask([splash.CausalMask((T, S), offset=S - T)] * H),
        block_sizes=splash.BlockSizes(
            block_q=q,
            block_kv=kv,
            block_kv_compute=kv,
            block_q_dkv=q,
            block_kv_dkv=kv,
            block_kv_dkv_compute=kv,
            use_fused_bwd_kernel=True,
        ),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=KEPT_NAME,
        interpret=interpret,
    )


def _block(length: int) -> int:
    """The largest block that divides a multiple of `LANES`."""
    fits = range(LANES, min(length, LARGEST_BLOCK) + 1, LANES)
    return max(size for size in fits if length % size == 0)
