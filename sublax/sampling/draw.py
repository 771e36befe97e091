"""Drawing one token of each row from its logits."""

import dataclasses

import jax
import jax.numpy as jnp

FORBIDDEN = -1e30


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        max_new_tokens: S, the longest completion, its stop token included.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: keep only the k likeliest tokens; 0 keeps all.
        top_p: keep the fewest likeliest tokens that hold this much probability (nucleus
            sampling, arXiv 1904.09751); 1 keeps all.
        scored: whether anyone reads the log-probabilities of what was drawn. Over a vocabulary they
            cost nearly as much as the draws.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    scored: bool = True


def draw(logits_BxA, keys_B, sampling: Sampling):
    """One token index per row.

    Args:
        logits_BxA: float32; forbidden tokens are at `FORBIDDEN`.
        keys_B: one key a row, so that a row's draw does not depend on its batch.
        sampling: temperature, top-k and top-p.

    Returns:
        int32 [B], indices into A.
    """
    if sampling.temperature == 0:
        return jnp.argmax(logits_BxA, axis=-1).astype(jnp.int32)
    logits_BxA = logits_BxA / sampling.temperature
    if sampling.top_k and sampling.top_k < logits_BxA.shape[-1]:
        least = jax.lax.top_k(logits_BxA, sampling.top_k)[0][:, -1:]
        logits_BxA = jnp.where(logits_BxA < least, FORBIDDEN, logits_BxA)
    if sampling.top_p < 1:
        logits_BxA = _nucleus(logits_BxA, sampling.top_p)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BxA).astype(jnp.int32)


def _nucleus(logits_BxA, top_p):
    order = jnp.argsort(-logits_BxA, axis=-1)
    probabilities = jax.nn.softmax(jnp.take_along_axis(logits_BxA, order, axis=-1))
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    # The token that crosses the bound is kept, and the likeliest whatever the bound.
    kept_in_order = (before < top_p).at[:, 0].set(True)
    kept = jnp.take_along_axis(kept_in_order, jnp.argsort(order, axis=-1), axis=-1)
    return jnp.where(kept, logits_BxA, FORBIDDEN)
