"""The jitted sampler: prefill once, then decode until every row has ended.

The keys and values lie in three segments. What all prompts begin with is one row, each prompt's
rest is one row however many answers it gets, and each answer has a row of its own. One step writes
one slot of all rows at once, in a ring of as many slots as the longest answer has tokens: so a row
may begin at any step, and a row that has ended may give its place to another.
"""

import dataclasses
import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

from sublax.models.attention import KeyValues
from sublax.models.completions import token_logprobs
from sublax.models.decoder import Decoder, head_kernel
from sublax.sampling.draw import FORBIDDEN, Sampling, draw
from sublax.sampling.grammar import Grammar


@struct.dataclass
class Prompts:
    """Encoded prompts of one shape.

    Attributes:
        prefix: int32 [G, P], tokens that all prompts begin with, a copy for each of the G pieces
            that the prompts are spread over devices in.
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
            whole vocabulary at temperature 1, natural log; 0 where they are not `scored`.
        allowed: float32 [B, S], log of the probability that the model gave to all the tokens that
            the grammar allowed there; 0 without a grammar, or where they are not `scored`. 1 - exp
            of it is what the mask removed.
        hidden: float32 [B, S, D], the last hidden state that each token was drawn from.
        rows: int64 [B], ascending, which of all rows these are; None where they are all.
    """

    tokens: jax.Array | np.ndarray
    lengths: jax.Array | np.ndarray
    logprobs: jax.Array | np.ndarray
    allowed: jax.Array | np.ndarray
    hidden: jax.Array | np.ndarray
    rows: np.ndarray | None = None


@struct.dataclass
class Begun:
    """What decoding reads of its prompts, and does not change.

    Attributes:
        context: the shared prefix' keys and values, where there is one, then the prompts'.
        start: int32 [B], tokens of each row's prompt.
        keys: [B], each row's key.
    """

    context: list[KeyValues]
    start: jax.Array
    keys: jax.Array


@struct.dataclass
class Loop:
    """What one decoding step hands to the next: the answers' cache and what was drawn.

    Attributes:
        step: int32, draws so far; the last one's slot is (step - 1) modulo S.
        cached_keys: [L, B, K, h, S], as `KeyValues` has them.
        cached_values: [L, B, K, S, h].
        slots: int32 [B, S], the position in its row that each slot holds; -1 for none.
        tokens: int32 [B, S], by slot.
        states: int32 [B, S], the grammar's state before each draw.
        hidden: float32 [B, S, D], the state that each token was drawn from.
        state: int32 [B], the grammar's state after the last draw.
        first: int32 [B], the slot of each row's first token.
        count: int32 [B], tokens drawn of each row.
        done: bool [B].
    """

    step: jax.Array
    cached_keys: jax.Array
    cached_values: jax.Array
    slots: jax.Array
    tokens: jax.Array
    states: jax.Array
    hidden: jax.Array
    state: jax.Array
    first: jax.Array
    count: jax.Array
    done: jax.Array


@struct.dataclass
class Written:
    """What rows wrote, in order: `tokens`, `states` [B, S], `hidden` [B, S, D], `lengths` [B]."""

    tokens: jax.Array | np.ndarray
    states: jax.Array | np.ndarray
    hidden: jax.Array | np.ndarray
    lengths: jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Sampler:
    """What stays the same from one prompt to the next, hashable: static under jit.

    Attributes:
        decoder: the model.
        sampling: how to draw, and the longest completion S.
        answers: n, completions a prompt.
    """

    decoder: Decoder
    sampling: Sampling
    answers: int


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
    sampler = Sampler(decoder, sampling, answers)
    begun, loop = begin(sampler, variables, prompts, keys_B, grammar, stop_K)
    loop = decode(sampler, variables, begun, loop, grammar, stop_K, sampling.max_new_tokens)
    return finish(sampler, variables, written(loop), grammar)


def begin(
    sampler: Sampler, variables, prompts: Prompts, keys_B, grammar: Grammar | None, stop_K
) -> tuple[Begun, Loop]:
    """Reads the prompts and draws every row's first token."""
    begun, hidden_BxD = _prefill(sampler, variables, prompts, keys_B)
    (B, D), S = hidden_BxD.shape, sampler.sampling.max_new_tokens
    like, spread = begun.context[-1], functools.partial(_spread, sampler.decoder)
    L, _, K, h, _ = like.keys.shape
    loop = Loop(
        step=jnp.ones((), jnp.int32),
        cached_keys=spread(jnp.zeros((L, B, K, h, S), like.keys.dtype)),
        cached_values=spread(jnp.zeros((L, B, K, S, h), like.values.dtype)),
        slots=jnp.full((B, S), -1, jnp.int32),
        tokens=jnp.zeros((B, S), jnp.int32),
        states=jnp.zeros((B, S), jnp.int32),
        hidden=jnp.zeros((B, S, D), jnp.float32),
        state=_start(grammar, B),
        first=jnp.zeros((B,), jnp.int32),
        count=jnp.zeros((B,), jnp.int32),
        done=jnp.zeros((B,), bool),
    )
    draws = jnp.ones((B,), bool)
    return begun, _draw(sampler, variables, begun, loop, hidden_BxD, draws, grammar, stop_K)


def refill(
    sampler: Sampler,
    variables,
    prompts: Prompts,
    keys_B,
    replaced_N,
    begun: Begun,
    loop: Loop,
    grammar: Grammar | None,
    stop_K,
) -> tuple[Begun, Loop]:
    """Gives the places of some prompts to others, and draws the first token of their rows.

    Args:
        sampler: the model, how to draw, and n answers a prompt.
        variables: `params`, and `lora` where the decoder has an adapter.
        prompts: N prompts, padded as those before; only the replacing ones are looked at.
        keys_B: keys of their rows.
        replaced_N: bool, which places are given away.
        begun: of the prompts so far.
        loop: between two steps.
        grammar: what may be written, or None.
        stop_K: int32, tokens that end a row.

    Returns:
        Both as they are with the new prompts.
    """
    fresh, hidden_BxD = _prefill(sampler, variables, prompts, keys_B)
    replaced_B = jnp.repeat(replaced_N, sampler.answers)

    new, old = fresh.context[-1], begun.context[-1]
    in_cache = replaced_N[:, None, None, None]  # of [L, N, K, h, T]
    read = KeyValues(
        jnp.where(in_cache, new.keys, old.keys),
        jnp.where(in_cache, new.values, old.values),
        jnp.where(replaced_N[:, None], new.positions, old.positions),
    )
    begun = Begun(
        [*begun.context[:-1], read],
        jnp.where(replaced_B, fresh.start, begun.start),
        jnp.where(replaced_B, fresh.keys, begun.keys),
    )
    slot = (loop.step - 1) % loop.tokens.shape[1]
    loop = dataclasses.replace(
        loop,
        slots=jnp.where(replaced_B[:, None], -1, loop.slots),
        state=jnp.where(replaced_B, _start(grammar, len(replaced_B)), loop.state),
        first=jnp.where(replaced_B, slot, loop.first),
        count=jnp.where(replaced_B, 0, loop.count),
        done=loop.done & ~replaced_B,
    )
    return begun, _draw(sampler, variables, begun, loop, hidden_BxD, replaced_B, grammar, stop_K)


def decode(
    sampler: Sampler, variables, begun: Begun, loop: Loop, grammar: Grammar | None, stop_K, steps
) -> Loop:
    """Draws up to `steps` more tokens of every row that has not ended."""
    last = loop.step + steps

    def advance(loop: Loop) -> Loop:
        """Runs the decoder on the last drawn tokens, keeps their keys and values, draws again."""
        slot, write = (loop.step - 1) % loop.tokens.shape[1], jax.lax.dynamic_update_slice_in_dim
        token_B = jax.lax.dynamic_index_in_dim(loop.tokens, slot, 1, False)
        position_Bx1 = (begun.start + loop.count - 1)[:, None]
        cached = KeyValues(loop.cached_keys, loop.cached_values, loop.slots)
        output = sampler.decoder.apply(
            variables, token_B[:, None], position_Bx1, [*begun.context, cached]
        )
        hidden_Bx1xD, (new,) = cast(tuple[jax.Array, list[KeyValues]], output)
        loop = dataclasses.replace(
            loop,
            step=loop.step + 1,
            cached_keys=write(loop.cached_keys, new.keys, slot, axis=4),
            cached_values=write(loop.cached_values, new.values, slot, axis=3),
            slots=write(loop.slots, position_Bx1, slot, axis=1),
        )
        hidden_BxD, draws = hidden_Bx1xD[:, 0], ~loop.done
        return _draw(sampler, variables, begun, loop, hidden_BxD, draws, grammar, stop_K)

    return jax.lax.while_loop(lambda loop: (loop.step < last) & ~loop.done.all(), advance, loop)


def written(loop: Loop) -> Written:
    """What every row has written so far, out of the ring and in order."""
    S = loop.tokens.shape[1]
    place_BxS = (loop.first[:, None] + jnp.arange(S)) % S
    tokens, states = (
        jnp.take_along_axis(ring, place_BxS, axis=1) for ring in (loop.tokens, loop.states)
    )
    hidden = jnp.take_along_axis(loop.hidden, place_BxS[:, :, None], axis=1)
    return Written(tokens, states, hidden, loop.count)


def finish(sampler: Sampler, variables, rows: Written, grammar: Grammar | None) -> Samples:
    """Log-probabilities over the whole vocabulary, in one pass over the kept hidden states."""
    if not sampler.sampling.scored:
        none_BxS = jnp.zeros(rows.tokens.shape, jnp.float32)
        return Samples(rows.tokens, rows.lengths, none_BxS, none_BxS, rows.hidden)
    config, params = sampler.decoder.config, variables["params"]
    hidden_BxSxD = rows.hidden.astype(sampler.decoder.dtype)
    kernel = head_kernel(params, config)
    logprobs_BxS, total_BxS = token_logprobs(hidden_BxSxD, kernel, rows.tokens)
    allowed_BxS = jnp.zeros_like(logprobs_BxS)
    if grammar is not None:
        kernel = head_kernel(params, config, jnp.asarray(grammar.tokens_A))
        allowed_BxS = _log_mass(hidden_BxSxD, kernel, grammar, rows.states) - total_BxS
    return Samples(rows.tokens, rows.lengths, logprobs_BxS, allowed_BxS, rows.hidden)


def _log_mass(hidden_BxSxD, kernel_DxA, grammar: Grammar, states_BxS, chunk: int = 512):
    """log of the sum of exponentiated logits of what the grammar allows, [B, S].

    A grammar of code has nearly all tokens, so that logits exist for one chunk of positions alone.
    """

    def one(column):
        hidden_BxD, states_B = column
        kernel = kernel_DxA.astype(hidden_BxD.dtype)
        logits = jnp.dot(hidden_BxD, kernel, preferred_element_type=jnp.float32)
        masked = jnp.where(_allowed(grammar, states_B), logits, FORBIDDEN)
        return jax.nn.logsumexp(masked, axis=-1)

    # By columns, for rows may lie on several devices.
    B, S = states_BxS.shape
    columns = jnp.swapaxes(hidden_BxSxD, 0, 1), states_BxS.T
    return jax.lax.map(one, columns, batch_size=min(max(chunk // B, 1), S)).T


def _prefill(sampler: Sampler, variables, prompts: Prompts, keys_B):
    """(what decoding reads of the prompts, the last hidden state of each row's prompt [B, D])."""
    places = jnp.broadcast_to(
        jnp.arange(prompts.prefix.shape[1], dtype=jnp.int32), prompts.prefix.shape
    )
    shared = (prompts.prefix, places) if places.size else None
    output = sampler.decoder.apply(variables, prompts.tokens, prompts.positions, prefix=shared)
    hidden_NxTxD, context = cast(tuple[jax.Array, list[KeyValues]], output)
    last_N = prompts.positions.argmax(axis=1)
    hidden_NxD = jnp.take_along_axis(hidden_NxTxD, last_N[:, None, None], axis=1)[:, 0]
    begun = Begun(context, jnp.repeat(prompts.lengths, sampler.answers), keys_B)
    return begun, jnp.repeat(hidden_NxD, sampler.answers, axis=0)


def _draw(
    sampler: Sampler, variables, begun: Begun, loop: Loop, hidden_BxD, draws_B, grammar, stop_K
) -> Loop:
    """Draws a token of the rows `draws_B` and notes it; the others stand still."""
    decoder, S = sampler.decoder, sampler.sampling.max_new_tokens
    slot = (loop.step - 1) % S
    columns = None if grammar is None else jnp.asarray(grammar.tokens_A)
    kernel = head_kernel(variables["params"], decoder.config, columns).astype(decoder.dtype)
    logits = jnp.dot(hidden_BxD, kernel, preferred_element_type=jnp.float32)
    if grammar is not None:
        logits = jnp.where(_allowed(grammar, loop.state), logits, FORBIDDEN)
    keys = jax.vmap(jax.random.fold_in)(begun.keys, loop.count)
    index_B = draw(logits, keys, sampler.sampling)
    token_B = index_B if columns is None else columns[index_B]
    state = loop.state
    if grammar is not None:
        following = jnp.asarray(grammar.next_state_SxA)[state, index_B]
        state = jnp.where(draws_B, following, state)
    count = loop.count + draws_B
    ended = (token_B[:, None] == stop_K[None, :]).any(axis=1) | (count == S)

    def noted(ring, value):
        mask = draws_B.reshape(-1, *[1] * (value.ndim - 1))
        old = jax.lax.dynamic_index_in_dim(ring, slot, 1, False)
        return ring.at[:, slot].set(jnp.where(mask, value, old))

    return dataclasses.replace(
        loop,
        tokens=noted(loop.tokens, token_B),
        states=noted(loop.states, loop.state),
        hidden=noted(loop.hidden, hidden_BxD.astype(jnp.float32)),
        state=state,
        count=count,
        done=loop.done | (draws_B & ended),
    )


def _start(grammar, B):
    return jnp.full((B,), 0 if grammar is None else grammar.start, jnp.int32)


def _spread(decoder, cache_LxB):
    """A cache whose rows lie where the rows do; its heads, where the decoder puts them."""
    if decoder.rows is None:
        return cache_LxB
    free = PartitionSpec.UNCONSTRAINED
    spec = PartitionSpec(None, *decoder.rows.spec, *[free] * (cache_LxB.ndim - 2))
    return jax.lax.with_sharding_constraint(cache_LxB, NamedSharding(decoder.rows.mesh, spec))


def _allowed(grammar, state):
    """Which of the grammar's tokens each row may write, bool [..., A]."""
    return jnp.asarray(grammar.next_state_SxA)[state] >= 0
