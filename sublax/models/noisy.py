"""A model's neighbour: each of its matrices with Gaussian noise in proportion to its own size."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from sublax.keys import key_of


def add_noise(params: dict[str, Any], level: float, seed: int) -> dict[str, Any]:
    """The parameters with noise of `level` times the root mean square of each matrix.

    Args:
        params: a decoder's parameters. Kernels and the embedding are perturbed, each layer's by its
            own size; norms' scales and biases stay.
        level: of noise, relative; 0 changes nothing.
        seed: of the noise; its direction is the same at every level.

    Returns:
        A tree like `params`, computed in float32, each leaf with its dtype where it lay.
    """

    def perturb(tree):
        leaves = traverse_util.flatten_dict(tree, sep="/")
        found = {
            path: _perturb(leaf, level, key_of(seed, "noisy", path))
            if path.endswith(("/kernel", "/embedding"))
            else leaf
            for path, leaf in leaves.items()
        }
        return traverse_util.unflatten_dict(found, sep="/")

    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(perturb, out_shardings=shardings)(params)


def _perturb(values, level, key):
    wide = values.astype(jnp.float32)
    size = jnp.sqrt(jnp.mean(wide * wide, axis=(-2, -1), keepdims=True))
    noise = jax.random.normal(key, values.shape, jnp.float32)
    return (wide + level * size * noise).astype(values.dtype)
