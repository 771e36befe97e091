"""The decoder: one Flax Linen module for every supported family, driven by its config.

Keys and values are arguments and results, never hidden state: what was computed before comes in
as `context`, one `KeyValues` a segment, and what this call computed goes out. The layers are
scanned, and the context is scanned input of that scan, so XLA never copies a cache.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding

from sublax.models.attention import NO_WINDOW, KeyValues
from sublax.models.attention_backends import XLA, Attention, attend_by, check_windows
from sublax.models.config import DecoderConfig
from sublax.models.int8 import SCALE
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

SOFT_PROMPT = ("soft_prompt", "vectors")  # collection and entry

# What a layer's backward pass needs of each token, all else is cheap to compute again from it. An
# adapter's product is in the projection's: kept apart, both would be written for every token.
KEPT = ("adapter", "q", "k", "v", "mixed", "stream", "gate", "up")

REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.save_only_these_names(*KEPT),
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
        if self.has_variable("params", SCALE):  # an int8 kernel's
            scale: Any = self.get_variable("params", SCALE)
            y = y * scale.astype(x.dtype)
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
    attention: Attention
    rows: NamedSharding | None

    @nn.compact
    def __call__(self, x_GxMxD, rotary, segments, row_of_BxT, slots, scanned):
        """Runs one layer.

        Args:
            x_GxMxD: the residual stream: of each group, its part of all segments one after another.
            rotary: (cos, sin), each [G, M, h/2].
            segments: positions of each segment's tokens, int32 [b, T], b a multiple of G; M is the
                sum of b / G * T.
            row_of_BxT: as in `Decoder`, of the last segment.
            slots: positions of each context segment's slots, [b, S].
            scanned: this layer's window and its context segments' (keys, values).

        Returns:
            The stream, and each segment's new (keys [b, K, h, T], values [b, K, T, h]).
        """
        config = self.config
        H, K, h = config.num_heads, config.num_kv_heads, config.head_dim
        window, context = scanned

        G, M, _ = x_GxMxD.shape
        normed = Norm(config.norm_eps, name="attention_norm")(x_GxMxD)
        q = self._project("q", H * h, config.qkv_bias)(normed).reshape(G, M, H, h)
        k = self._project("k", K * h, config.qkv_bias)(normed).reshape(G, M, K, h)
        v = self._project("v", K * h, config.qkv_bias)(normed).reshape(G, M, K, h)
        if config.qk_norm:
            q = Norm(config.norm_eps, axis=None, name="q_norm")(q)
            k = Norm(config.norm_eps, axis=None, name="k_norm")(k)
        q = checkpoint_name(rotate(q, *rotary), "q")
        k = checkpoint_name(rotate(k, *rotary), "k")
        v = checkpoint_name(v, "v")
        attend = functools.partial(attend_by, self.attention, self.rows)
        seen = [(*pair, at) for pair, at in zip(context, slots, strict=True)]
        mixed, computed, first = [], [], 0
        for index, positions_bxT in enumerate(segments, 1):
            shape, width = positions_bxT.shape, positions_bxT.size // G
            own = slice(first, first + width)
            keys_bxKxhxT = k[:, own].reshape(*shape, K, h).transpose(0, 2, 3, 1)
            values_bxKxTxh = v[:, own].reshape(*shape, K, h).transpose(0, 2, 1, 3)
            computed.append((keys_bxKxhxT, values_bxKxTxh))
            seen.append((keys_bxKxhxT, values_bxKxTxh, positions_bxT))
            row_of = row_of_BxT if index == len(segments) else None
            q_bxTxHxh = q[:, own].reshape(*shape, H, h)
            mixed_bxTxD = attend(q_bxTxHxh, positions_bxT, seen, window, row_of)
            mixed.append(mixed_bxTxD.reshape(G, width, H * h))
            first = own.stop
        mixed_GxMxD = jnp.concatenate(mixed, axis=1)
        if self.attention.name != "splash":  # which names what it wants kept by itself
            mixed_GxMxD = checkpoint_name(mixed_GxMxD, "mixed")
        x_GxMxD = x_GxMxD + self._project("o", config.hidden_size, config.output_bias)(mixed_GxMxD)
        x_GxMxD = checkpoint_name(x_GxMxD, "stream")

        normed = Norm(config.norm_eps, name="mlp_norm")(x_GxMxD)
        gate = self._project("gate", config.intermediate_size, config.mlp_bias)(normed)
        up = self._project("up", config.intermediate_size, config.mlp_bias)(normed)
        gate, up = checkpoint_name(gate, "gate"), checkpoint_name(up, "up")
        down = self._project("down", config.hidden_size, config.mlp_bias)
        return x_GxMxD + down(nn.silu(gate) * up), computed

    def _project(self, name, features, bias):
        return Projection(features, bias, KERNEL_AXES[name], self.lora, name=name)


class Decoder(nn.Module):
    """Tokens to last hidden states.

    Collections: `params` (see `init_params`), `lora` where `lora` is given, and `soft_prompt`
    where tokens stand for vectors of its own: token V + i for row i of its `vectors` [k, D].

    Attributes:
        config: what the function depends on.
        lora: adapters to apply, or None.
        dtype: of weights at use and of activations; norms, softmax and angles are float32.
        remat: what the backward pass computes again: `none`, `dots` (all but what products with
            weights gave) or `full` (each whole layer).
        rows: how rows are spread over devices, along the stream's groups; None is one device.
        attention: what computes attention where rows have several tokens.
    """

    config: DecoderConfig
    lora: LoraConfig | None = None
    dtype: Any = jnp.float32
    remat: str = "none"
    rows: NamedSharding | None = None
    attention: Attention = XLA

    @nn.compact
    def __call__(self, tokens_BxT, positions_BxT, context=(), prefix=None, row_of_BxT=None):
        """Runs the decoder on new tokens, after what is in `context`.

        Args:
            tokens_BxT: int32.
            positions_BxT: int32, each token's position in its whole sequence; -1 for padding.
            context: `KeyValues` of what came before; a segment of b rows serves B / b rows each.
            prefix: None, or (tokens [b, P], positions [b, P]) of new tokens that B / b rows each
                begin with. They go through every product together with the rows, so that its
                kernel is read once, and its gradient written once. Such a group of rows stays on
                one device: over n devices, b is a multiple of n (without a prefix, B is).
            row_of_BxT: None; or int32, where several rows stand one after another in what is one
                row here: which of them a token belongs to. They see context and prefix, and of
                each other nothing.

        Returns:
            (hidden_BxTxD after the last norm, `KeyValues` of the prefix, where there is one, and
            of these tokens, in a list: with `context`, the context of what comes next).
        """
        config = self.config
        V, D = config.vocab_size, config.hidden_size
        pieces = (
            [(tokens_BxT, positions_BxT)]
            if prefix is None
            else [prefix, (tokens_BxT, positions_BxT)]
        )
        segments = [positions for _, positions in pieces]
        G = len(segments[0])
        embedding = _Table("embedding", (V, D), ("vocab", "embed"), name="embed")()
        tokens_GxM = _by_group([tokens for tokens, _ in pieces], G)
        x_GxMxD = embedding[tokens_GxM].astype(self.dtype)
        if self.has_variable(*SOFT_PROMPT):
            vectors: Any = self.get_variable(*SOFT_PROMPT)
            # Beside the table, not in it: a gradient is then of k vectors and not of V.
            chosen_GxMxD = vectors[jnp.maximum(tokens_GxM - V, 0)].astype(self.dtype)
            x_GxMxD = jnp.where((tokens_GxM >= V)[..., None], chosen_GxMxD, x_GxMxD)
        if self.rows is not None:
            x_GxMxD = jax.lax.with_sharding_constraint(x_GxMxD, self.rows)
        slots = [segment.positions.shape[1] for segment in context]
        check_windows(self.attention, config, sum(slots + [at.shape[1] for at in segments]))
        layer = Layer
        if self.remat != "none":
            layer = nn.remat(Layer, prevent_cse=False, policy=REMAT_POLICIES[self.remat])
        layers = nn.scan(
            layer,
            variable_axes={"params": 0, "lora": 0},
            split_rngs={"params": True},
            in_axes=(*(nn.broadcast,) * 4, 0),
            length=config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(config, self.lora, self.attention, self.rows, name="layers")
        windows = [NO_WINDOW if w is None else w for w in config.sliding_windows]
        scanned = (
            jnp.asarray(windows, jnp.int32),
            [(segment.keys, segment.values) for segment in context],
        )
        angles = [rotary_angles(config, positions) for positions in segments]
        x_GxMxD, computed = layers(
            x_GxMxD,
            [_by_group(part, G) for part in zip(*angles, strict=True)],
            segments,
            row_of_BxT,
            [segment.positions for segment in context],
            scanned,
        )
        if not config.tied_embeddings and self.is_initializing():
            _Table("kernel", (D, V), ("embed", "vocab"), name="head")()  # `logits_of` reads it
        x_BxTxD = x_GxMxD[:, -(tokens_BxT.size // G) :].reshape(*tokens_BxT.shape, D)
        hidden_BxTxD = Norm(config.norm_eps, name="final_norm")(x_BxTxD)
        new = zip(computed, segments, strict=True)
        return hidden_BxTxD, [KeyValues(keys, values, at) for (keys, values), at in new]


def _by_group(arrays, G):
    """Arrays [b, T, ...] as one [G, M, ...]: each group's part of every one, one after another."""
    return jnp.concatenate([jnp.reshape(a, (G, -1, *a.shape[2:])) for a in arrays], axis=1)


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


@functools.lru_cache(maxsize=8)
def abstract_params(config: DecoderConfig):
    """Shapes and logical axes of all parameters, without making any.

    Returns:
        (tree of `jax.ShapeDtypeStruct`, tree of logical `PartitionSpec`); not to be written to,
        for a run asks thirty times and tracing the decoder takes a tenth of a second.
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
