"""What is computed at every position of a few rows: logits over a vocabulary, or a grammar's part.

Logits are large, so only those of some positions exist at a time; a head is large too, and is read
once for as many positions as there are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sublax.models.completions import Rows
from sublax.models.decoder import DecoderConfig, head_kernel
from sublax.sampling.grammar import Grammar

# Logits that exist at a time, of one model: 32 MiB in float32.
LOGITS_AT_A_TIME = 1 << 23


@struct.dataclass
class Allowed:
    """Which tokens may stand at each position of B rows that were written under a grammar.

    Attributes:
        columns_A: int32, vocabulary ids of the grammar's tokens.
        allowed_SxA: bool, which of them may follow in each of its states.
        states_BxC: int32, the state before each of C tokens.
    """

    columns_A: Any
    allowed_SxA: Any
    states_BxC: Any


def under_grammar(grammar: Grammar, allowed_SxA: Any, rows: Rows) -> tuple[Rows, Allowed]:
    """Rows whose targets are places among the grammar's tokens, and what it allows at each.

    Args:
        grammar: of A tokens.
        allowed_SxA: bool, which of them may follow in each of its states, for many batches.
        rows: B rows of C places for tokens, all of which it begins with.
    """
    tokens_A, next_state_SxA = np.asarray(grammar.tokens_A), np.asarray(grammar.next_state_SxA)
    places_BxC = np.searchsorted(tokens_A, rows.targets).clip(max=len(tokens_A) - 1)
    states_BxC = np.full(places_BxC.shape, grammar.start, np.int32)
    for column in range(places_BxC.shape[1] - 1):
        after_B = next_state_SxA[states_BxC[:, column], places_BxC[:, column]]
        # What only fills the shape stays where it is: some token is allowed everywhere.
        states_BxC[:, column + 1] = np.where(after_B < 0, states_BxC[:, column], after_B)
    rows = dataclasses.replace(rows, targets=places_BxC.astype(np.int32))
    return rows, Allowed(tokens_A, allowed_SxA, states_BxC)


def head_of(params, config: DecoderConfig, allowed: Allowed | None):
    """The output head [D, A] of what rows may be written in: a grammar's tokens, or all."""
    return head_kernel(params, config, None if allowed is None else allowed.columns_A)


def logits_of(hidden_NxD, kernel_DxA):
    """The logits of N positions, float32 [N, A]; the head is cast to the hidden states' dtype."""
    kernel_DxA = kernel_DxA.astype(hidden_NxD.dtype)
    return jnp.einsum("nd,da->na", hidden_NxD, kernel_DxA, preferred_element_type=jnp.float32)


def over_positions(
    function: Callable[[Any, Any], Any],
    arrays: Any,
    counts_BxC: Any,
    allowed: Allowed | None,
    width: int,
) -> Any:
    """A function of every position that counts, of some at a time.

    Rows of text differ in length, and of a batch of them a third may be filling: it costs nothing.

    Args:
        function: (arrays [N, ...], bool [N, A] or [1, 1]) -> arrays [N, ...], of N positions and
            which tokens each may have.
        arrays: [B, C, ...] each.
        counts_BxC: bool, which positions count.
        allowed: what the rows' grammar allows; None is any token.
        width: of the logits.

    Returns:
        What the function does, [B, C, ...] each, and 0 at positions that do not count.
    """
    B, C = counts_BxC.shape
    size = min(max(LOGITS_AT_A_TIME // width, 1), B * C)
    any_1x1 = jnp.ones((1, 1), bool)
    table_SxA = None if allowed is None else jnp.asarray(allowed.allowed_SxA)
    states_BxC = jnp.zeros((B, C), jnp.int32) if allowed is None else allowed.states_BxC
    given_BC = (arrays, states_BxC)
    flat = jax.tree.map(lambda of: jnp.asarray(of).reshape(B * C, *of.shape[2:]), given_BC)
    # Those that count come first; the others' places lie outside, where what is found is dropped.
    order = jnp.flatnonzero(counts_BxC, size=B * C + size, fill_value=B * C)

    def of_chunk(number):
        at = jax.lax.dynamic_slice(order, (number * size,), (size,))
        given, states_N = jax.tree.map(lambda of: of[at], flat)
        return at, function(given, any_1x1 if table_SxA is None else table_SxA[states_N])

    def with_chunk(number, found):
        at, of_places = of_chunk(number)
        return jax.tree.map(lambda every, of: every.at[at].set(of, mode="drop"), found, of_places)

    shapes = jax.eval_shape(of_chunk, 0)[1]
    found = jax.tree.map(lambda of: jnp.zeros((B * C, *of.shape[1:]), of.dtype), shapes)
    found = jax.lax.fori_loop(0, -(-counts_BxC.sum() // size), with_chunk, found)
    return jax.tree.map(lambda of: of.reshape(B, C, *of.shape[1:]), found)
