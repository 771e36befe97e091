"""A model's twin by rotation: the residual stream in another basis, the same function to rounding.

RMSNorm does not see a rotation as long as it scales no channel, so each norm's scale goes into the
matrices that read it, and then all that writes to the stream or reads from it is rotated (as in
SliceGPT, Ashkboos et al., arXiv 2401.15024, section 3). The last norm's scale goes into the output
head: tied embeddings become untied, for the embedding is read without that scale.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from sublax.keys import numpy_seed
from sublax.models.config import DecoderConfig

_WRITES = ("o", "down")
_NORM_OF = {  # of what reads the stream
    "layers/q": "layers/attention_norm",
    "layers/k": "layers/attention_norm",
    "layers/v": "layers/attention_norm",
    "layers/gate": "layers/mlp_norm",
    "layers/up": "layers/mlp_norm",
    "head": "final_norm",
}


def rotate(
    params: dict[str, Any], config: DecoderConfig, seed: int
) -> tuple[dict[str, Any], DecoderConfig]:
    """The parameters in another basis of the residual stream, and their config.

    Args:
        params: the decoder's parameters.
        config: the decoder.
        seed: of the rotation.

    Returns:
        (parameters whose norms on the stream are one, computed in float32, each leaf with its dtype
        where it lay; the config, whose embeddings are untied).
    """
    turn_DxD = random_rotation(config.hidden_size, seed)

    def turn(tree):
        old = traverse_util.flatten_dict(untie(tree, config), sep="/")
        new = dict(old)
        for name in ("embed/embedding", *(f"layers/{name}/kernel" for name in _WRITES)):
            new[name] = _written(old[name], turn_DxD)
        for name in (f"layers/{name}/bias" for name in _WRITES):
            if name in old:
                new[name] = _written(old[name], turn_DxD)
        for name, norm in _NORM_OF.items():
            new[f"{name}/kernel"] = _read(old[f"{name}/kernel"], old[f"{norm}/scale"], turn_DxD)
            new[f"{norm}/scale"] = jnp.ones_like(old[f"{norm}/scale"])
        return traverse_util.unflatten_dict(new, sep="/")

    turned = jax.jit(turn, out_shardings=_untied_shardings(params, config))(params)
    return turned, untied(config)


def untied(config: DecoderConfig) -> DecoderConfig:
    """The config of a rotated model."""
    return dataclasses.replace(config, tied_embeddings=False)


def untie(params: dict[str, Any], config: DecoderConfig) -> dict[str, Any]:
    """The parameters with an output head of their own, the embedding's transpose where tied."""
    if not config.tied_embeddings:
        return params
    return params | {"head": {"kernel": params["embed"]["embedding"].T}}


def random_rotation(size: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix, float32 [size, size], uniform (Mezzadri, math-ph/0609050)."""
    rng = np.random.default_rng(numpy_seed(seed, "rotated"))
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def _written(values, turn_DxD):
    """What adds its last axis to the stream: [..., D]."""
    turned = jnp.matmul(values.astype(jnp.float32), turn_DxD, precision="highest")
    return turned.astype(values.dtype)


def _read(kernel, scale, turn_DxD):
    """What reads the stream after a norm: [..., D, n], with the norm's scale [..., D]."""
    folded = kernel.astype(jnp.float32) * scale.astype(jnp.float32)[..., None]
    return jnp.matmul(turn_DxD.T, folded, precision="highest").astype(kernel.dtype)


def _untied_shardings(params, config):
    """Where each leaf lies; a new head is cut along the same axes of the mesh as the embedding."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    if not config.tied_embeddings:
        return shardings
    head = embedding = shardings["embed"]["embedding"]
    if isinstance(embedding, NamedSharding):
        rows, columns = (*embedding.spec, None, None)[:2]
        head = NamedSharding(embedding.mesh, PartitionSpec(columns, rows))
    return shardings | {"head": {"kernel": head}}
