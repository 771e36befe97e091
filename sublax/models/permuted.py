"""A model's twin by permutation: other weights in every place, exactly the same function.

The residual stream's channels change places, as do in each layer the key/value heads with their
query heads, the query heads of each key/value head among themselves, and the neurons of the MLP.
No order of these means anything to a decoder, nor that of hidden units to a classifier. Neither
does it to any optimizer that treats each weight alike, so training commutes with it too.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(lambda tree: reorder(tree, config, orders), out_shardings=shardings)(params)


def reorder(
    params: dict[str, Any], config: DecoderConfig, orders: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters in given orders, which may be traced.

    Args:
        params: as in `permute`.
        config: the decoder.
        orders: logical axis -> which old index stands at each new one, int [n], or [L, n] by
            layer. Axes that are not there stay as they are.

    Returns:
        A tree like `params`.
    """

    def of_leaf(values, axes):
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

    return jax.tree.map(of_leaf, params, abstract_params(config)[1])


def orders_of_key(config: DecoderConfig, key: jax.Array) -> dict[str, jax.Array]:
    """Orders of the stream and of each layer's neurons, drawn where a key may be traced.

    A loop over seeds in one program draws its twins so. Heads stay where they are.

    Args:
        config: the decoder.
        key: of the orders.
    """
    stream_key, neurons_key = jax.random.split(key)
    layers = jax.random.split(neurons_key, config.num_layers)
    draw = jax.vmap(lambda key: jax.random.permutation(key, config.intermediate_size))
    stream_D = jax.random.permutation(stream_key, config.hidden_size)
    return {"embed": stream_D, "mlp": draw(layers)}


def permute_mlp(params: Any, key: jax.Array) -> Any:
    """A `Classifier` of kind `mlp` whose hidden units are permuted, each layer's on its own.

    Args:
        params: as its `init` returns them.
        key: of the orders; may be traced.

    Returns:
        Parameters of the same tree, and the same logits but for the rounding of sums.
    """
    layers = params["params"]
    names = sorted(layers, key=lambda name: int(name.rpartition("_")[2]))
    twin: dict[str, Any] = {}
    before = jnp.arange(layers[names[0]]["kernel"].shape[0])  # pixels stay where they are
    for name, layer_key in zip(names, jax.random.split(key, len(names)), strict=True):
        width = layers[name]["kernel"].shape[1]
        after = jnp.arange(width)  # logits too
        if name != names[-1]:
            after = jax.random.permutation(layer_key, width)
        twin[name] = {part: leaf[..., after] for part, leaf in layers[name].items()}
        twin[name]["kernel"] = twin[name]["kernel"][before]
        before = after
    return {"params": twin}


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
