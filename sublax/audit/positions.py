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
    function: Callable[[Any, Any], Any], arrays: Any, allowed: Allowed | None, width: int
) -> Any:
    """A function of every position, of some at a time.

    Args:
        function: (arrays [N, ...], bool [N, A] or [1, 1]) -> arrays [N, ...], of N positions and
            which tokens each may have.
        arrays: [B, C, ...] each.
        allowed: what the rows' grammar allows; None is any token.
        width: of the logits.

    Returns:
        What the function does, [B, C, ...] each.
    """
    B, C = jax.tree.leaves(arrays)[0].shape[:2]
    chunks = -(-B * C // max(LOGITS_AT_A_TIME // width, 1))
    size = -(-B * C // chunks)  # all alike, so that the last is not mostly filling

    def folded(array):
        flat = array.reshape(B * C, *array.shape[2:])
        filling = ((0, chunks * size - B * C), *((0, 0) for _ in flat.shape[1:]))
        return jnp.pad(flat, filling).reshape(chunks, size, *flat.shape[1:])

    def unfolded(array):
        flat = array.reshape(chunks * size, *array.shape[2:])
        return flat[: B * C].reshape(B, C, *flat.shape[1:])

    def of_chunk(chunk):
        given, states_N = chunk
        return function(given, any_1x1 if table_SxA is None else table_SxA[states_N])

    any_1x1 = jnp.ones((1, 1), bool)
    table_SxA = None if allowed is None else jnp.asarray(allowed.allowed_SxA)
    states_BxC = jnp.zeros((B, C), jnp.int32) if allowed is None else allowed.states_BxC
    found = jax.lax.map(of_chunk, jax.tree.map(folded, (arrays, states_BxC)))
    return jax.tree.map(unfolded, found)
