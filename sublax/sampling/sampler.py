"""The jitted sampler: prefill once, then decode until every row has ended.

The keys and values lie in three segments. What all prompts begin with is one row, each prompt's
rest is one row however many answers it gets, and each answer has a row of its own. So answers all
begin at slot 0 of their segment, and one step writes one slot of all rows at once.
"""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sublax.models.attention import KeyValues
from sublax.models.completions import token_logprobs
from sublax.models.decoder import Decoder, head_kernel, logits_of
from sublax.sampling.draw import FORBIDDEN, Sampling, draw
from sublax.sampling.grammar import Grammar


@struct.dataclass
class Prompts:
    """Encoded prompts of one shape.

    Attributes:
        prefix: int32 [P], tokens that all prompts begin with.
        tokens: int32 [N, T], the rest of each, at least one token; padding is any token.
        positions: int32 [N, T], counted from the start of the prefix; -1 for padding.
        lengths: int32 [N], tokens of each prompt in all.
    """

    prefix: jax.Array | np.ndarray
    tokens: jax.Array | np.ndarray
    positions: jax.Array | np.ndarray
    lengths: jax.Array | np.ndarray


@struct.dataclass
class Samples:
    """Completions, B = N x n rows, all answers to the first prompt first.

    Attributes:
        tokens: int32 [B, S]; after a row's end, any token.
        lengths: int32 [B], tokens of each with its stop token.
        logprobs: float32 [B, S], log-probability of each token under the model itself, over the
            whole vocabulary at temperature 1, natural log.
        allowed: float32 [B, S], log of the probability that the model gave to all the tokens that
            the grammar allowed there; 0 without a grammar. 1 - exp of it is what the mask removed.
        hidden: float32 [B, S, D], the last hidden state that each token was drawn from.
    """

    tokens: jax.Array
    lengths: jax.Array
    logprobs: jax.Array
    allowed: jax.Array
    hidden: jax.Array


@struct.dataclass
class _Loop:
    """What one decoding step hands to the next: the answers' cache and what was drawn."""

    step: jax.Array
    cached_keys: jax.Array
    cached_values: jax.Array
    slots: jax.Array
    tokens: jax.Array
    states: jax.Array
    hidden: jax.Array
    state: jax.Array
    done: jax.Array


def sample(
    decoder: Decoder,
    sampling: Sampling,
    answers: int,
    variables: dict[str, Any],
    prompts: Prompts,
    keys_B,
    grammar: Grammar | None,
    stop_K,
) -> Samples:
    """Draws `answers` completions of every prompt; pure, to be jitted with the first three static.

    Args:
        decoder: the model.
        sampling: how to draw, and the longest completion S.
        answers: n, completions a prompt.
        variables: `params`, and `lora` where the decoder has an adapter.
        prompts: N prompts.
        keys_B: keys of the N x n rows; the draw at each position folds the position in.
        grammar: what may be written, or None.
        stop_K: int32, tokens that end a row. A grammar's stop tokens are among them.

    Returns:
        The completions.
    """
    params, config = variables["params"], decoder.config
    places = jnp.arange(prompts.prefix.shape[0], dtype=jnp.int32)
    shared = (prompts.prefix[None], places[None]) if places.size else None
    output = decoder.apply(variables, prompts.tokens, prompts.positions, prefix=shared)
    hidden_NxTxD, context = cast(tuple[jax.Array, list[KeyValues]], output)
    last_N = prompts.positions.argmax(axis=1)
    hidden_NxD = jnp.take_along_axis(hidden_NxTxD, last_N[:, None, None], axis=1)[:, 0]
    start_B = jnp.repeat(prompts.lengths, answers)
    B, S = start_B.shape[0], sampling.max_new_tokens
    columns = None if grammar is None else jnp.asarray(grammar.tokens_A)
    kernel = head_kernel(params, config, columns).astype(decoder.dtype)

    def draw_at(loop: _Loop, hidden_BxD, step) -> _Loop:
        """Draws the token of every row at `step` and notes it; rows that are done stand still."""
        logits = jnp.dot(hidden_BxD, kernel, preferred_element_type=jnp.float32)
        if grammar is not None:
            logits = jnp.where(_allowed(grammar, loop.state), logits, FORBIDDEN)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
        index_B = draw(logits, keys, sampling)
        token_B = index_B if columns is None else columns[index_B]
        state = loop.state
        if grammar is not None:
            following = jnp.asarray(grammar.next_state_SxA)[state, index_B]
            state = jnp.where(loop.done, state, following)
        ended = (token_B[:, None] == stop_K[None, :]).any(axis=1)
        return dataclasses.replace(
            loop,
            step=step + 1,
            tokens=loop.tokens.at[:, step].set(jnp.where(loop.done, -1, token_B)),
            states=loop.states.at[:, step].set(loop.state),
            hidden=loop.hidden.at[:, step].set(hidden_BxD.astype(jnp.float32)),
            state=state,
            done=loop.done | ended,
        )

    def advance(loop: _Loop) -> _Loop:
        """Runs the decoder on the last drawn tokens, keeps their keys and values, draws again."""
        slot, write = loop.step - 1, jax.lax.dynamic_update_slice_in_dim
        token_B = jnp.maximum(jax.lax.dynamic_index_in_dim(loop.tokens, slot, 1, False), 0)
        position_Bx1 = (start_B + slot)[:, None]
        cached = KeyValues(loop.cached_keys, loop.cached_values, loop.slots)
        output = decoder.apply(variables, token_B[:, None], position_Bx1, [*context, cached])
        hidden_Bx1xD, (new,) = cast(tuple[jax.Array, list[KeyValues]], output)
        loop = dataclasses.replace(
            loop,
            cached_keys=write(loop.cached_keys, new.keys, slot, axis=4),
            cached_values=write(loop.cached_values, new.values, slot, axis=3),
            slots=write(loop.slots, position_Bx1, slot, axis=1),
        )
        return draw_at(loop, hidden_Bx1xD[:, 0], loop.step)

    L, _, K, h, _ = context[-1].keys.shape
    loop = _Loop(
        step=jnp.zeros((), jnp.int32),
        cached_keys=jnp.zeros((L, B, K, h, S), context[-1].keys.dtype),
        cached_values=jnp.zeros((L, B, K, S, h), context[-1].values.dtype),
        slots=jnp.full((B, S), -1, jnp.int32),
        tokens=jnp.full((B, S), -1, jnp.int32),
        states=jnp.zeros((B, S), jnp.int32),
        hidden=jnp.zeros((B, S, config.hidden_size), jnp.float32),
        state=jnp.full((B,), 0 if grammar is None else grammar.start, jnp.int32),
        done=jnp.zeros((B,), bool),
    )
    loop = draw_at(loop, jnp.repeat(hidden_NxD, answers, axis=0), loop.step)
    loop = jax.lax.while_loop(lambda loop: (loop.step < S) & ~loop.done.all(), advance, loop)
    return _finish(decoder, params, loop, grammar)


def _allowed(grammar, state):
    """Which of the grammar's tokens each row may write, bool [..., A]."""
    return jnp.asarray(grammar.next_state_SxA)[state] >= 0


def _finish(decoder, params, loop: _Loop, grammar) -> Samples:
    """Log-probabilities over the whole vocabulary, in one pass over the kept hidden states."""
    config = decoder.config
    B, S = loop.tokens.shape
    hidden_NxD = loop.hidden.reshape(B * S, -1).astype(decoder.dtype)
    tokens_BxS = jnp.maximum(loop.tokens, 0)
    kernel = head_kernel(params, config)
    logprobs, total = token_logprobs(hidden_NxD, kernel, tokens_BxS.reshape(-1))
    allowed_BxS = jnp.zeros((B, S), jnp.float32)
    if grammar is not None:
        logits = logits_of(params, config, hidden_NxD, jnp.asarray(grammar.tokens_A))
        masked = jnp.where(_allowed(grammar, loop.states.reshape(-1)), logits, FORBIDDEN)
        allowed_BxS = (jax.nn.logsumexp(masked, axis=-1) - total).reshape(B, S)
    return Samples(
        tokens=tokens_BxS,
        lengths=(loop.tokens >= 0).sum(axis=1),
        logprobs=logprobs.reshape(B, S),
        allowed=allowed_BxS,
        hidden=loop.hidden,
    )
