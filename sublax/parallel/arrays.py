"""Between the host and the mesh: NumPy arrays onto their devices, and back."""

import functools
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec


def place(tree: Any, sharding: Any) -> Any:
    """Puts NumPy arrays, the same in every process, where a sharding says.

    Args:
        tree: of NumPy arrays or arrays on this process' devices; also `jax.random` keys.
        sharding: one for all leaves, or a tree of them; None leaves the arrays where they are.

    Returns:
        The tree on its devices. A process hands over only what its own devices hold.
    """
    if sharding is None:
        return tree
    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)
    return jax.tree.map(_put, tree, sharding)


def fetch(tree: Any) -> Any:
    """The whole of every array as NumPy, in every process; a collective call."""

    def one(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(one, tree)


def fetch_own(tree: Any, rows: NamedSharding | None) -> tuple[np.ndarray, Any]:
    """The rows of every array that lie on this process' devices, as NumPy; a collective call.

    Args:
        tree: of arrays [B, ...].
        rows: how rows are spread over the devices; None where they are not.

    Returns:
        (which rows, int64 [b], ascending; the tree of arrays [b, ...]). Each row is one process'
        own, also where several hold it.
    """
    if rows is None:  # every process has all of them: they are the first one's
        whole = fetch(tree)
        count = len(jax.tree.leaves(whole)[0]) if jax.process_index() == 0 else 0
        return np.arange(count), jax.tree.map(lambda leaf: leaf[:count], whole)
    tree = _spread(rows)(tree)

    def shards(leaf):
        """(first row, shard) of each piece of which this process holds the first copy."""
        first = [s for s in leaf.addressable_shards if s.replica_id == 0]
        return sorted(((s.index[0].start or 0, s) for s in first), key=lambda pair: pair[0])

    def one(leaf):
        found = [np.asarray(shard.data) for _, shard in shards(leaf)]
        return np.concatenate(found) if found else np.zeros((0, *leaf.shape[1:]), leaf.dtype)

    held = [start + np.arange(len(shard.data)) for start, shard in shards(jax.tree.leaves(tree)[0])]
    return np.concatenate([np.zeros(0, np.int64), *held]), jax.tree.map(one, tree)


@functools.lru_cache(maxsize=8)
def _spread(rows: NamedSharding):
    return jax.jit(lambda tree: tree, out_shardings=rows)


def _put(leaf, sharding):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if sharding.is_fully_addressable or (
        isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    ):
        return jax.device_put(leaf, sharding)
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def replicated(mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())
