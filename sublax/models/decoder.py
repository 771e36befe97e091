"""The decoder: one Flax Linen module for every supported family, driven by its config.

Keys and values are arguments and results, never hidden state: what was computed before comes in
as `context`, one `KeyValues` a segment, and what this call computed goes out. The layers are
scanned, and the context is scanned input of that scan, so XLA never copies a cache.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sublax.models.attention import NO_WINDOW, KeyValues, attend
from sublax.models.config import DecoderConfig
from sublax.models.lora import LoraConfig, low_rank
from sublax.models.rope import rotary_angles, rotate

# Which logical axes each projection's kernel has; the mesh rules say where they go.
KERNEL_AXES = {
    "q": ("embed", "heads"),
    "k": ("embed", "kv_heads"),
    "v": ("embed", "kv_heads"),
    "o": ("heads", "embed"),
    "gate": ("embed", "mlp"),
    "up": ("embed", "mlp"),
    "down": ("mlp", "embed"),
}


REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Norm(nn.Module):
    """RMSNorm (arXiv 1910.07467) in float32."""

    epsilon: float
    axis: str | None = "embed"

    @nn.compact
    def __call__(self, x):
        """Normalises the last axis; returns the dtype of `x`."""
        init = nn.with_logical_partitioning(nn.initializers.ones, (self.axis,))
        scale: Any = self.param("scale", init, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.epsilon)
        return (wide * scale.astype(jnp.float32)).astype(x.dtype)


class Projection(nn.Module):
    """A linear map, with a low-rank adapter beside it where the adapter's config says so."""

    features: int
    bias: bool
    axes: tuple[str, str]
    lora: LoraConfig | None

    @nn.compact
    def __call__(self, x):
        """[..., in] -> [..., features], computed in the dtype of `x`."""
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), self.axes)
        kernel: Any = self.param("kernel", init, (x.shape[-1], self.features), jnp.float32)
        y = x @ kernel.astype(x.dtype)
        if self.bias:
            init = nn.with_logical_partitioning(nn.initializers.zeros, (self.axes[1],))
            added: Any = self.param("bias", init, (self.features,), jnp.float32)
            y = y + added.astype(x.dtype)
        if self.lora is not None and self.name in self.lora.targets and not self.is_initializing():
            # Adapters are made by `init_lora`, not here: they outlive and outnumber the module.
            a: jax.Array = self.get_variable("lora", "a")
            b: jax.Array = self.get_variable("lora", "b")
            y = y + low_rank(x, a.astype(x.dtype), (self.lora.scale * b).astype(x.dtype))
        return y


class Layer(nn.Module):
    """One block: attention and gated MLP, each after a norm and added to the stream."""

    config: DecoderConfig
    lora: LoraConfig | None

    @nn.compact
    def __call__(self, x_BxTxD, positions_BxT, rotary, slots, scanned):
        """Runs one layer.

        Args:
            x_BxTxD: the residual stream.
            positions_BxT: int32.
            rotary: (cos, sin), each [B, T, h/2].
            slots: positions of each context segment's slots, [b, S].
            scanned: this layer's window and its context segments' (keys, values).

        Returns:
            The stream, and this layer's new (keys [B, K, h, T], values [B, K, T, h]).
        """
        config = self.config
        B, T, _ = x_BxTxD.shape
        K, h = config.num_kv_heads, config.head_dim
        window, context = scanned

        normed = Norm(config.norm_eps, name="attention_norm")(x_BxTxD)
        q = self._project("q", config.num_heads * h, config.qkv_bias)(normed)
        k = self._project("k", K * h, config.qkv_bias)(normed).reshape(B, T, K, h)
        v = self._project("v", K * h, config.qkv_bias)(normed).reshape(B, T, K, h)
        q = q.reshape(B, T, config.num_heads, h)
        if config.qk_norm:
            q = Norm(config.norm_eps, axis=None, name="q_norm")(q)
            k = Norm(config.norm_eps, axis=None, name="k_norm")(k)
        q, k = rotate(q, *rotary), rotate(k, *rotary)
        keys_BxKxhxT, values_BxKxTxh = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
        segments = [(*pair, at) for pair, at in zip(context, slots, strict=True)]
        segments.append((keys_BxKxhxT, values_BxKxTxh, positions_BxT))
        mixed = attend(q, positions_BxT, segments, window)
        x_BxTxD = x_BxTxD + self._project("o", config.hidden_size, config.output_bias)(mixed)

        normed = Norm(config.norm_eps, name="mlp_norm")(x_BxTxD)
        gate = self._project("gate", config.intermediate_size, config.mlp_bias)(normed)
        up = self._project("up", config.intermediate_size, config.mlp_bias)(normed)
        down = self._project("down", config.hidden_size, config.mlp_bias)
        return x_BxTxD + down(nn.silu(gate) * up), (keys_BxKxhxT, values_BxKxTxh)

    def _project(self, name, features, bias):
        return Projection(features, bias, KERNEL_AXES[name], self.lora, name=name)


class Decoder(nn.Module):
    """Tokens to last hidden states.

    Collections: `params` (see `init_params`), and `lora` where `lora` is given.

    Attributes:
        config: what the function depends on.
        lora: adapters to apply, or None.
        dtype: of weights at use and of activations; norms, softmax and angles are float32.
        remat: what the backward pass computes again: `none`, `dots` (all but the products with
            weights) or `full` (each whole layer).
    """

    config: DecoderConfig
    lora: LoraConfig | None = None
    dtype: Any = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, tokens_BxT, positions_BxT, context=()):
        """Runs the decoder on new tokens, after what is in `context`.

        Args:
            tokens_BxT: int32.
            positions_BxT: int32, each token's position in its whole sequence; -1 for padding.
            context: `KeyValues` of what came before; a segment of b rows serves B / b rows each.

        Returns:
            (hidden_BxTxD after the last norm, `KeyValues` of these tokens).
        """
        config = self.config
        V, D = config.vocab_size, config.hidden_size
        embedding = _Table("embedding", (V, D), ("vocab", "embed"), name="embed")()
        x_BxTxD = embedding[tokens_BxT].astype(self.dtype)
        layer = Layer
        if self.remat != "none":
            layer = nn.remat(Layer, prevent_cse=False, policy=REMAT_POLICIES[self.remat])
        layers = nn.scan(
            layer,
            variable_axes={"params": 0, "lora": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast, 0),
            length=config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(config, self.lora, name="layers")
        windows = [NO_WINDOW if w is None else w for w in config.sliding_windows]
        scanned = (
            jnp.asarray(windows, jnp.int32),
            [(segment.keys, segment.values) for segment in context],
        )
        x_BxTxD, (keys, values) = layers(
            x_BxTxD,
            positions_BxT,
            rotary_angles(config, positions_BxT),
            [segment.positions for segment in context],
            scanned,
        )
        if not config.tied_embeddings and self.is_initializing():
            _Table("kernel", (D, V), ("embed", "vocab"), name="head")()  # `logits_of` reads it
        hidden_BxTxD = Norm(config.norm_eps, name="final_norm")(x_BxTxD)
        return hidden_BxTxD, KeyValues(keys, values, positions_BxT)


class _Table(nn.Module):
    """One matrix that is read, not applied: the token vectors, or the output head's kernel."""

    entry: str
    shape: tuple[int, int]
    axes: tuple[str, str]

    @nn.compact
    def __call__(self):
        init = nn.with_logical_partitioning(nn.initializers.normal(0.02), self.axes)
        return self.param(self.entry, init, self.shape, jnp.float32)


def init_params(config: DecoderConfig, key):
    """Random parameters, float32, in the tree that loading fills (unboxed).

    Returns:
        The nested dictionary of the collection `params`.
    """
    return nn.unbox(_init(config, key))


def abstract_params(config: DecoderConfig):
    """Shapes and logical axes of all parameters, without making any.

    Returns:
        (tree of `jax.ShapeDtypeStruct`, tree of logical `PartitionSpec`).
    """
    boxed = jax.eval_shape(lambda: _init(config, jax.random.key(0)))
    return nn.unbox(boxed), nn.get_partition_spec(boxed)


def _init(config, key):
    tokens = jnp.zeros((1, 1), jnp.int32)
    return Decoder(config).init(key, tokens, tokens)["params"]


def head_kernel(params, config: DecoderConfig, columns=None):
    """The output head [D, V], or only the given columns of it [D, A]."""
    if config.tied_embeddings:
        embedding = params["embed"]["embedding"]
        return (embedding if columns is None else embedding[columns]).T
    kernel = params["head"]["kernel"]
    return kernel if columns is None else kernel[:, columns]


def logits_of(params, config: DecoderConfig, hidden, columns=None):
    """Logits of last hidden states, over the vocabulary or only some of its tokens.

    Args:
        params: the decoder's parameters.
        config: its config.
        hidden: [..., D].
        columns: int32 [A], token ids; None is all.

    Returns:
        float32 [..., V] or [..., A].
    """
    kernel = head_kernel(params, config, columns).astype(hidden.dtype)
    return jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)
