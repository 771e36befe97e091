"""Rotary position embedding: the angle at each position, and the rotation."""

import math

import jax.numpy as jnp
import numpy as np

from sublax.models.config import DecoderConfig


def rotary_angles(config: DecoderConfig, positions_BxT):
    """Cosine and sine of every position's rotation, with the config's scaling applied.

    Args:
        config: the decoder; `config.rope` says which scaling.
        positions_BxT: int32; padding is -1 and gets some angle that nobody reads.

    Returns:
        (cos, sin), each float32 [B, T, h/2], scaled by yarn's attention factor where it applies.

    Raises:
        ValueError: an unknown kind of scaling.
    """
    rope, head_dim = config.rope, config.head_dim
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    frequencies = jnp.asarray(1.0 / rope.theta**exponents, jnp.float32)
    scale = 1.0
    if rope.kind == "linear":
        frequencies = frequencies / rope.factor
    elif rope.kind == "dynamic":
        frequencies = _dynamic(config, exponents, positions_BxT)
    elif rope.kind == "llama3":
        frequencies = _llama3(rope, frequencies)
    elif rope.kind == "yarn":
        frequencies, scale = _yarn(config, frequencies)
    elif rope.kind != "default":
        raise ValueError(f"unknown rope kind {rope.kind!r}")
    angles_BxTxf = positions_BxT[..., None].astype(jnp.float32) * frequencies
    return jnp.cos(angles_BxTxf) * scale, jnp.sin(angles_BxTxf) * scale


def rotate(x_GxMxNxh, cos_GxMxf, sin_GxMxf):
    """Rotates the pairs (i, i + h/2) of every head (Hugging Face's half-split layout).

    Args:
        x_GxMxNxh: queries or keys of M tokens in each of G groups, any float dtype.
        cos_GxMxf: float32, f = h/2.
        sin_GxMxf: float32, f = h/2.

    Returns:
        The same shape and dtype as `x_GxMxNxh`.
    """
    cos, sin = cos_GxMxf[:, :, None], sin_GxMxf[:, :, None]
    first, second = jnp.split(x_GxMxNxh.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_GxMxNxh.dtype)


def _dynamic(config, exponents, positions_BxT):
    """NTK-aware scaling: theta grows with each row's own length, so rows stay independent."""
    rope, trained = config.rope, config.rope.original_max_positions or config.max_positions
    length_Bx1x1 = jnp.maximum(positions_BxT.max(axis=1) + 1, trained)[:, None, None]
    stretch = rope.factor * length_Bx1x1 / trained - (rope.factor - 1)
    theta = rope.theta * stretch ** (config.head_dim / (config.head_dim - 2))
    return 1.0 / theta**exponents


def _llama3(rope, frequencies):
    """Llama 3.1: long wavelengths divided by the factor, short ones kept, a ramp between."""
    wavelengths = 2 * math.pi / frequencies
    rotations = rope.original_max_positions / wavelengths
    ramp = (rotations - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    ramp = jnp.clip(ramp, 0.0, 1.0)
    return (1 - ramp) * frequencies / rope.factor + ramp * frequencies


def _yarn(config, frequencies):
    """YaRN (arXiv 2309.00071, section 3.2), with the attention factor of section 3.4."""
    rope, head_dim = config.rope, config.head_dim
    trained = rope.original_max_positions or config.max_positions

    def dimension_of(rotations):
        ratio = trained / (rotations * 2 * math.pi)
        return head_dim * math.log(ratio) / (2 * math.log(rope.theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # the ramp must not divide by zero
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - low) / (high - low), 0, 1)
    scaled = frequencies / rope.factor * ramp + frequencies * (1 - ramp)

    def magnitude(weight):
        return 1.0 if rope.factor <= 1 else 0.1 * weight * math.log(rope.factor) + 1.0

    if rope.attention_factor is not None:
        return scaled, rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return scaled, magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return scaled, magnitude(1.0)
