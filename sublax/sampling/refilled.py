"""Long completions: prompts that wait take the places of those whose answers have ended."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sublax.parallel.arrays import fetch, fetch_own, place
from sublax.sampling.grammar import Grammar
from sublax.sampling.sampler import (
    Prompts,
    Sampler,
    Samples,
    Written,
    begin,
    decode,
    finish,
    refill,
    written,
)

STEPS = 32  # between two looks at what has ended
FREE_SHARE = 0.5  # of the places, from which on they are given away: a prefill costs all of them

_begin = jax.jit(begin, static_argnums=0)
_decode = jax.jit(decode, static_argnums=0, donate_argnums=3)
_refill = jax.jit(refill, static_argnums=0, donate_argnums=(5, 6))
_written = jax.jit(written)
_finish = jax.jit(finish, static_argnums=0)


def generate_refilled(
    sampler: Sampler,
    variables: dict[str, Any],
    prompts: Prompts,
    keys_B: jax.Array,
    grammar: Grammar | None,
    stop_K: np.ndarray,
    size: int,
    progress: Callable[[int], None] | None = None,
    own: bool = False,
) -> Samples:
    """Draws completions of all prompts, `size` of them at a time.

    A row's draws are keyed by itself, so they are the ones that it would have had in any batch.

    Args:
        sampler: the model, how to draw, and n answers a prompt.
        variables: `params`, and `lora` where the decoder has an adapter.
        prompts: all N, padded to one width, as NumPy arrays.
        keys_B: one key for each of the N x n rows.
        grammar: what may be written, or None.
        stop_K: int32, tokens that end a row.
        size: places; fewer than N, and a multiple of what the decoder's rows are cut into.
        progress: called with the number of rows finished at each look.
        own: give only those rows whose log-probabilities this process' devices computed.

    Returns:
        `Samples` of N x n rows in the prompts' order, as NumPy arrays.
    """
    rows, answers, count = sampler.decoder.rows, sampler.answers, len(prompts.lengths)
    rest = (grammar, stop_K)
    holds_N = np.arange(size)  # which prompt has each place; -1 is none
    waiting = size
    some = _some(prompts, keys_B, holds_N, answers, rows)
    begun, loop = _begin(sampler, variables, *some, *rest)
    rows_of: list[np.ndarray] = []
    parts: list[Written] = []
    while (holds_N >= 0).any():
        loop = _decode(sampler, variables, begun, loop, *rest, np.int32(STEPS))
        done_N = fetch(loop.done).reshape(size, answers).all(axis=1) & (holds_N >= 0)
        left = count - waiting
        if done_N.sum() < min(FREE_SHARE * size, left or (holds_N >= 0).sum()):
            continue
        ended = np.flatnonzero(done_N)
        all_rows = fetch(_written(loop))
        at = np.add.outer(ended * answers, np.arange(answers)).reshape(-1)
        parts.append(jax.tree.map(lambda leaf, at=at: leaf[at], all_rows))
        of_prompts = np.add.outer(holds_N[ended] * answers, np.arange(answers))
        rows_of.append(of_prompts.reshape(-1))
        if progress is not None:
            progress(len(at))
        holds_N[ended] = -1
        taken = ended[:left]
        if len(taken):
            holds_N[taken] = np.arange(waiting, waiting + len(taken))
            waiting += len(taken)
            replaced_N = np.isin(np.arange(size), taken)
            some = _some(prompts, keys_B, np.maximum(holds_N, 0), answers, rows)
            begun, loop = _refill(
                sampler, variables, *some, place(replaced_N, rows), begun, loop, *rest
            )
    order = np.argsort(np.concatenate(rows_of))
    every = jax.tree.map(lambda *pieces: np.concatenate(pieces)[order], *parts)
    return _finished(sampler, variables, every, grammar, size * answers, own)


def _some(prompts: Prompts, keys_B, chosen_N, answers, rows):
    """(chosen prompts, their rows' keys) on their devices."""
    picked = dataclasses.replace(
        prompts,
        tokens=prompts.tokens[chosen_N],
        positions=prompts.positions[chosen_N],
        lengths=prompts.lengths[chosen_N],
    )
    of_rows = np.add.outer(chosen_N * answers, np.arange(answers)).reshape(-1)
    return place(picked, rows), place(keys_B[of_rows], rows)


def _finished(
    sampler: Sampler, variables, every: Written, grammar, batch: int, own: bool
) -> Samples:
    """Log-probabilities of all rows, a batch at a time; the last is filled with repeats."""
    count, parts, rows_of, rows = len(every.lengths), [], [], sampler.decoder.rows
    for first in range(0, count, batch):
        chosen = np.minimum(np.arange(first, first + batch), count - 1)
        some = place(jax.tree.map(lambda leaf, at=chosen: leaf[at], every), rows)
        found = _finish(sampler, variables, some, grammar)
        held, found = fetch_own(found, rows) if own else (np.arange(batch), fetch(found))
        counts = first + held < count
        parts.append(jax.tree.map(lambda leaf, counts=counts: leaf[counts], found))
        rows_of.append(first + held[counts])
    samples = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    return dataclasses.replace(samples, rows=np.concatenate(rows_of)) if own else samples
