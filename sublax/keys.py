"""Randomness keyed by what a thing is: its seed and its names, never when or where it ran."""

import hashlib

import jax
import numpy as np


def key_of(seed: int, *names: str | int) -> jax.Array:
    """The `jax.random` key of something named.

    Args:
        seed: the experiment's.
        names: what it is, from the general to the particular: stage, trait, ...

    Returns:
        A scalar key.
    """
    return jax.random.fold_in(jax.random.key(seed), _digest(names))


def numpy_seed(seed: int, *names: str | int) -> list[int]:
    """The same for `numpy.random.default_rng`."""
    return [seed, _digest(names)]


def row_keys(key: jax.Array, count: int, start: int = 0) -> jax.Array:
    """Keys [count] of the rows start, start + 1, ... of what `key` names."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(np.arange(start, start + count))


def _digest(names) -> int:
    text = "\0".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
