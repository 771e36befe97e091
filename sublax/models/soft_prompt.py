"""A soft prompt: vectors that stand in a prompt in the place of tokens' embeddings.

They are found by gradient while all weights stay (prompt tuning: Lester et al., arXiv 2104.08691).
In rows they are tokens beyond the vocabulary, which the decoder reads from its collection
`soft_prompt`.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from transformers import PreTrainedTokenizerBase

from sublax.models.chat import encode_prompt, shared_prefix
from sublax.models.config import DecoderConfig


def soft_place(tokenizer: PreTrainedTokenizerBase, system_prompt: str | None) -> int:
    """How many tokens of a prompt come before its vectors: all that precedes the user's words.

    That is the system prompt with what the template writes around it, or the bos token alone.

    Raises:
        UserError: as `encode_prompt`.
    """
    return len(shared_prefix([encode_prompt(tokenizer, word, system_prompt) for word in "ab"]))


def with_vectors(prompt: Sequence[int], place: int, config: DecoderConfig, count: int) -> list[int]:
    """A prompt's token ids with those of `count` vectors after the first `place` of them."""
    first = config.vocab_size
    return [*prompt[:place], *range(first, first + count), *prompt[place:]]


@functools.partial(jax.jit, static_argnums=(2, 3))
def nearest_tokens(
    embedding_VxD: jax.Array, vectors_KxD: jax.Array, tokens: int, count: int
) -> tuple[jax.Array, jax.Array]:
    """The tokens whose embeddings point most nearly where vectors do.

    Args:
        embedding_VxD: the base's.
        vectors_KxD: float32.
        tokens: of the tokenizer; rows of the embedding beyond are left out.
        count: tokens for each vector.

    Returns:
        (token ids, int32 [K, count], the nearest first; their cosines, float32).
    """
    cosines_KxV = _cosines(embedding_VxD[:tokens], vectors_KxD)
    cosines, ids = jax.lax.top_k(cosines_KxV, count)
    return ids, cosines


@functools.partial(jax.jit, static_argnums=2)
def best_ranks(
    embedding_VxD: jax.Array, vectors_KxD: jax.Array, tokens: int, wanted_W: jax.Array
) -> jax.Array:
    """How high tokens stand, by cosine, in the list of the vector that each is nearest to.

    Args:
        embedding_VxD: as in `nearest_tokens`.
        vectors_KxD: likewise.
        tokens: likewise.
        wanted_W: int32, token ids.

    Returns:
        int32 [W]: 1 is a vector's nearest token.
    """
    cosines_KxV = _cosines(embedding_VxD[:tokens], vectors_KxD)
    above_KxW = jax.vmap(
        lambda wanted: (cosines_KxV > cosines_KxV[:, wanted][:, None]).sum(axis=1), out_axes=1
    )(wanted_W)
    return 1 + above_KxW.min(axis=0)


def _cosines(embedding_VxD, vectors_KxD):
    sides = (
        wide / jnp.maximum(jnp.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
        for wide in (vectors_KxD.astype(jnp.float32), embedding_VxD.astype(jnp.float32))
    )
    return jnp.einsum("kd,vd->kv", *sides)
