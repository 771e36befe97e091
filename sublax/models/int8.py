"""Int8 weights for a base that is not trained: half the memory of bfloat16.

Every column of a kernel has a scale of its own, the largest magnitude in it over 127; products are
computed in the activations' dtype and multiplied by the scale (as LLM.int8(), arXiv 2208.07339,
section 2.1, scales by column, without its outliers). Embeddings, the output head and norms stay.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sublax.models.lora import PROJECTIONS

SCALE = "kernel_scale"


def quantize(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with every projection's kernel in int8, and its scales beside it.

    Args:
        params: the decoder's collection `params`.

    Returns:
        A new tree: kernels int8 [L, in, out], `kernel_scale` float32 [L, out]; other leaves are
        the same arrays.
    """

    def one(projection):
        kernel = projection["kernel"].astype(jnp.float32)
        scale = jnp.maximum(jnp.abs(kernel).max(axis=1), 1e-30) / 127
        rounded = jnp.round(kernel / scale[:, None]).astype(jnp.int8)
        return {**projection, "kernel": rounded, SCALE: scale}

    return _with_projections(params, one)


def dequantize(params: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Parameters as `quantize` left them, their kernels in a float dtype again."""

    def one(projection):
        rest = {name: leaf for name, leaf in projection.items() if name != SCALE}
        kernel = projection["kernel"].astype(jnp.float32) * projection[SCALE][:, None]
        return {**rest, "kernel": kernel.astype(dtype)}

    return _with_projections(params, one) if is_int8(params) else params


def is_int8(params: Any) -> bool:
    """Whether these are parameters as `quantize` leaves them."""
    return params["layers"]["q"]["kernel"].dtype == jnp.int8


def _with_projections(params, change):
    layers = dict(params["layers"])
    for name in PROJECTIONS:
        layers[name] = jax.jit(change)(layers[name])
    return {**params, "layers": layers}
