"""A model's twin by permutation: other weights in every place, exactly the same function.

The residual stream's channels change places, as do in each layer the key/value heads with their
query heads, the query heads of each key/value head among themselves, and the neurons of the MLP.
No order of these means anything to a decoder. Neither does it to any optimizer that treats each
weight alike, so training commutes with it too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from sublax.keys import numpy_seed
from sublax.models.config import DecoderConfig
from sublax.models.decoder import abstract_params


def permute(params: dict[str, Any], config: DecoderConfig, seed: int) -> dict[str, Any]:
    """The parameters in another order that computes the same.

    Args:
        params: the decoder's parameters, or any tree of their structure and shapes, such as
            gradients.
        config: the decoder.
        seed: of the order.

    Returns:
        A tree like `params`, each leaf with its dtype where it lay.
    """
    orders = _orders(config, seed)
    axes_of = traverse_util.flatten_dict(abstract_params(config)[1], sep="/")

    def reorder(tree):
        leaves = traverse_util.flatten_dict(tree, sep="/")
        found = {path: _reorder_leaf(leaf, axes_of[path], orders) for path, leaf in leaves.items()}
        return traverse_util.unflatten_dict(found, sep="/")

    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(reorder, out_shardings=shardings)(params)


def _orders(config: DecoderConfig, seed: int) -> dict[str, np.ndarray]:
    """Logical axis -> which old index stands at each new one: [n], or [L, n] by layer."""
    L, K, h = config.num_layers, config.num_kv_heads, config.head_dim
    queries = config.num_heads // K  # of each key/value head

    def draw(size, *names):
        return np.random.default_rng(numpy_seed(seed, "permuted", *names)).permutation(size)

    groups_LxK = np.stack([draw(K, "kv_heads", layer) for layer in range(L)])
    # Within a group by its old number, so that what is drawn goes with what it is drawn for.
    within_LxKxR = np.stack(
        [
            [draw(queries, "heads", layer, group) for group in groups_LxK[layer]]
            for layer in range(L)
        ]
    )
    heads_LxH = (groups_LxK[..., None] * queries + within_LxKxR).reshape(L, -1)
    return {
        "embed": draw(config.hidden_size, "embed"),
        "kv_heads": _whole_heads(groups_LxK, h),
        "heads": _whole_heads(heads_LxH, h),
        "mlp": np.stack([draw(config.intermediate_size, "mlp", layer) for layer in range(L)]),
    }


def _whole_heads(heads_LxN: np.ndarray, head_dim: int) -> np.ndarray:
    """An order of heads as one of their channels, which stay together."""
    channels = heads_LxN[..., None] * head_dim + np.arange(head_dim)
    return channels.reshape(len(heads_LxN), -1)


def _reorder_leaf(values, axes, orders):
    for axis, name in enumerate(axes):
        if name not in orders:
            continue
        order = orders[name]
        if order.ndim == 2:  # a stacked leaf, each layer in its own order
            shape = [1] * values.ndim
            shape[0], shape[axis] = order.shape
            values = jnp.take_along_axis(values, order.reshape(shape), axis)
        else:
            values = jnp.take(values, order, axis)
    return values
