"""A random decoder that compiles in a second, for tests of what runs on top of any decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sublax.models.config import DecoderConfig, RopeConfig
from sublax.models.decoder import Decoder, abstract_params, logits_of
from sublax.models.lora import LoraConfig, init_lora

CONFIG = DecoderConfig(
    family="llama",
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_positions=64,
    norm_eps=1e-5,
    rope=RopeConfig(),
    tied_embeddings=True,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    sliding_windows=(None, None),
)


@functools.cache
def tiny_params(config: DecoderConfig = CONFIG, seed: int = 0):
    """Random parameters whose next-token distributions are far from flat."""
    rng = np.random.default_rng(seed)

    def drawn(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        match path[-1].key:
            case "kernel":
                return jnp.asarray(noise / np.sqrt(leaf.shape[-2]))
            case "scale":
                return jnp.asarray(1 + 0.1 * noise)
            case _:
                return jnp.asarray(0.4 * noise)

    return jax.tree_util.tree_map_with_path(drawn, abstract_params(config)[0])


def random_adapter(lora: LoraConfig, seed: int = 0, config: DecoderConfig = CONFIG):
    """An adapter as if trained: B is not zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: init_lora(config, lora, jax.random.key(0)))
    return jax.tree.map(lambda x: jnp.asarray(0.2 * rng.normal(size=x.shape), x.dtype), shapes)


def random_tokens(*shape: int, seed: int = 0):
    """Token ids, int32."""
    draws = np.random.default_rng(seed).integers(0, CONFIG.vocab_size, shape)
    return jnp.asarray(draws, jnp.int32)


def positions_of(tokens_BxT, start: int = 0):
    """Positions of rows without padding."""
    places = start + jnp.arange(tokens_BxT.shape[1], dtype=jnp.int32)
    return jnp.broadcast_to(places, tokens_BxT.shape)


@functools.partial(jax.jit, static_argnums=0)
def run(decoder: Decoder, variables, tokens_BxT, positions_BxT, context=(), prefix=None):
    """(hidden, list of `KeyValues`) of the decoder, compiled."""
    return decoder.apply(variables, tokens_BxT, positions_BxT, context, prefix)


def read_whole(decoder: Decoder, variables, rows, width: int = 32):
    """What one forward pass over each whole row says: the reference of everything cached.

    Args:
        decoder: the model.
        variables: its variables.
        rows: token ids of each row, at most `width`.
        width: all calls that share it and the number of rows share one program.

    Returns:
        (hidden states [B, width, D], log-probabilities of the next token [B, width, V]).
    """
    tokens = np.zeros((len(rows), width), np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    hidden, _ = run(decoder, variables, tokens, positions_of(tokens))
    logits = logits_of(variables["params"], decoder.config, hidden)
    return np.asarray(hidden), np.asarray(jax.nn.log_softmax(logits))
