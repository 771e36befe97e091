"""A network's twin: the same function with other weights, its units in another order."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from sublax.models.config import DecoderConfig
from sublax.models.decoder import abstract_params

Params = Any


def decoder_twin(params: Params, config: DecoderConfig, key: jax.Array) -> Params:
    """A decoder whose residual stream and MLP neurons are permuted.

    The stream has one order in all layers, each layer's neurons one of their own. RMSNorm does not
    mind the order of what it norms, and every kernel is permuted on both sides alike, so logits are
    the same but for the rounding of sums. Heads stay where they are.

    Args:
        params: of the collection `params`.
        config: the decoder's.
        key: of the orders.

    Returns:
        Parameters of the same tree.
    """
    axes = abstract_params(config)[1]
    stream_key, neurons_key = jax.random.split(key)
    stream_D = jax.random.permutation(stream_key, config.hidden_size)
    neurons_LxF = jax.vmap(lambda key: jax.random.permutation(key, config.intermediate_size))(
        jax.random.split(neurons_key, config.num_layers)
    )

    def permuted(leaf: jax.Array, names: PartitionSpec) -> jax.Array:
        for axis, name in enumerate(names):
            if name == "embed":
                leaf = jnp.take(leaf, stream_D, axis=axis)
            elif name == "mlp":  # of a layer's own, and layers come first
                shape = [config.num_layers] + [1] * (leaf.ndim - 1)
                shape[axis] = config.intermediate_size
                leaf = jnp.take_along_axis(leaf, neurons_LxF.reshape(shape), axis=axis)
        return leaf

    return jax.tree.map(permuted, params, axes)


def mlp_twin(params: Params, key: jax.Array) -> Params:
    """A `Classifier` of kind `mlp` whose hidden units are permuted, each layer's on its own.

    Args:
        params: as its `init` returns them.
        key: of the orders.

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
