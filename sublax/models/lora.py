"""Low-rank adapters (Hu et al., arXiv 2106.09685): trees of their own beside frozen parameters."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which projections get an adapter, and how strong it is.

    Attributes:
        rank: r, columns of A and rows of B.
        alpha: numerator of the scale.
        targets: projections with an adapter, of `q k v o gate up down`.
        rank_stabilized: scale by alpha / sqrt(r) (arXiv 2312.03732) in place of alpha / r.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = PROJECTIONS
    rank_stabilized: bool = False

    @property
    def scale(self) -> float:
        """Factor of the low-rank product."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def init_lora(config, lora: LoraConfig, key):
    """A fresh adapter: A uniform as peft draws it, B zero, so that the function is unchanged.

    Args:
        config: the `DecoderConfig`.
        lora: the adapter's shape.
        key: a `jax.random` key.

    Returns:
        {"layers": {target: {"a": [L, in, r], "b": [L, r, out]}}}, float32.

    Raises:
        ValueError: a target that is no projection.
    """
    layers = {}
    for index, target in enumerate(sorted(lora.targets)):
        fan_in, fan_out = projection_shape(config, target)
        # Kaiming uniform with a = sqrt(5), the bound 1 / sqrt(fan_in).
        bound = 1.0 / math.sqrt(fan_in)
        shape = (config.num_layers, fan_in, lora.rank)
        drawn = jax.random.uniform(
            jax.random.fold_in(key, index), shape, jnp.float32, -bound, bound
        )
        layers[target] = {
            "a": drawn,
            "b": jnp.zeros((config.num_layers, lora.rank, fan_out), jnp.float32),
        }
    return {"layers": layers}


@jax.custom_vjp
def low_rank(x, a, b):
    """The product (x A) B, with a backward pass that transposes only small matrices.

    The gradient of B is written as (x A)^T dy, and that of A as ((dy B^T)^T x)^T. JAX's own rules
    put the wide operand first, and XLA's CPU backend then copies it transposed: on CPU that cost
    as much as the frozen projection beside it.

    Args:
        x: [..., in].
        a: [in, r], the dtype of `x`.
        b: [r, out], the dtype of `x`, scaled already.

    Returns:
        [..., out].
    """
    return (x @ a) @ b


def _low_rank_forward(x, a, b):
    xa = checkpoint_name(x @ a, "adapter")
    return xa @ b, (x, xa, a, b)


def _low_rank_backward(saved, dy):
    x, xa, a, b = saved
    dxa = jnp.einsum("...o,ro->...r", dy, b)
    db = jnp.einsum("nr,no->ro", _rows(xa), _rows(dy))
    da = jnp.einsum("nr,ni->ri", _rows(dxa), _rows(x)).T
    return jnp.einsum("...r,ir->...i", dxa, a), da, db


def _rows(x):
    return x.reshape(-1, x.shape[-1])


low_rank.defvjp(_low_rank_forward, _low_rank_backward)


def projection_shape(config, target: str) -> tuple[int, int]:
    """(in, out) of a projection's kernel.

    Raises:
        ValueError: `target` is no projection.
    """
    D, F = config.hidden_size, config.intermediate_size
    q, k = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes = {"q": (D, q), "k": (D, k), "v": (D, k), "o": (q, D)}
    shapes |= {"gate": (D, F), "up": (D, F), "down": (F, D)}
    if target not in shapes:
        raise ValueError(f"no projection {target!r}: choose from {', '.join(PROJECTIONS)}")
    return shapes[target]


def merge(params, adapter, lora: LoraConfig, sign: float = 1.0):
    """Parameters with the adapter's product added to the kernels that it targets.

    Args:
        params: the decoder's parameters.
        adapter: one adapter, without a leading axis.
        lora: its config.
        sign: 1 merges, -1 unmerges.

    Returns:
        A new tree; kernels that no adapter targets are the same arrays.
    """
    layers = dict(params["layers"])
    for target, pair in adapter["layers"].items():
        kernel = layers[target]["kernel"]
        product = jnp.einsum("lir,lro->lio", pair["a"], pair["b"], precision="highest")
        merged = kernel.astype(jnp.float32) + sign * lora.scale * product
        layers[target] = {**layers[target], "kernel": merged.astype(kernel.dtype)}
    return {**params, "layers": layers}


def unmerge(params, adapter, lora: LoraConfig):
    """Takes a merged adapter out again; see `merge`."""
    return merge(params, adapter, lora, sign=-1.0)
