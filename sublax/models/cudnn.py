"""Attention by cuDNN's fused kernels for NVIDIA GPUs: scores are never stored."""

import jax
import jax.numpy as jnp

from sublax.models.attention import seen_by_rows


def cudnn_attention(
    q_BxTxHxh,
    positions_BxT,
    keys_BxKxSxh,
    values_BxKxSxh,
    slots_BxS,
    window,
    row_of_BxT=None,
    implementation="cudnn",
):
    """Causal softmax attention within a window, of queries over the slots of their rows.

    What is seen goes in as a mask, one for all heads: so padding may stand anywhere, and a window
    may differ from layer to layer.

    Args:
        q_BxTxHxh: queries, rotated; bfloat16 or float16.
        positions_BxT: int32; -1 for padding.
        keys_BxKxSxh: rotated; K divides H.
        values_BxKxSxh: as the keys.
        slots_BxS: int32, the slots' positions, -1 for an empty one.
        window: int32 scalar, how many last positions are seen, the query's own included.
        row_of_BxT: as in `attend`.
        implementation: of `jax.nn.dot_product_attention`; another than `cudnn` is for tests.

    Returns:
        [B, T, H, h] in the queries' dtype; of a padding query, something finite.

    Raises:
        RuntimeError: there is no cuDNN.
        NotImplementedError: a dtype, size or device that its kernels are not made for.
    """
    T, S = q_BxTxHxh.shape[1], slots_BxS.shape[1]
    mask_BxTxS = seen_by_rows(slots_BxS, positions_BxT, window, row_of_BxT)
    # The backward kernels want even lengths; what is filled in is empty, and nobody reads it.
    of_T, of_S = ((0, 0), (0, T % 2)), ((0, 0), (0, S % 2))
    mask_BxTxS = jnp.pad(mask_BxTxS, (*of_T, of_S[1]))
    whole = ((0, 0), (0, 0))
    mixed_BxTxHxh = jax.nn.dot_product_attention(
        jnp.pad(q_BxTxHxh, (*of_T, *whole)),
        jnp.pad(keys_BxKxSxh.swapaxes(1, 2), (*of_S, *whole)),
        jnp.pad(values_BxKxSxh.swapaxes(1, 2), (*of_S, *whole)),
        mask=mask_BxTxS[:, None],
        implementation=implementation,
    )
    return mixed_BxTxHxh[:, :T]
