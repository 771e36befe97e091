"""Any number of prompts through the jitted sampler, in batches of one size and few widths."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sublax.errors import UserError
from sublax.models.chat import shared_prefix
from sublax.models.completions import round_up
from sublax.models.decoder import Decoder
from sublax.parallel.arrays import fetch, fetch_own, place
from sublax.parallel.layout import pieces
from sublax.sampling.draw import Sampling
from sublax.sampling.grammar import Grammar
from sublax.sampling.refilled import generate_refilled
from sublax.sampling.sampler import Prompts, Sampler, Samples, sample

# Completions from which on a place that is free for a while is worth a prefill of its own.
LONG = 64

_sample = jax.jit(sample, static_argnums=(0, 1, 2))


def generate(
    decoder: Decoder,
    variables: dict[str, Any],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop_ids: Sequence[int],
    keys_B: jax.Array,
    answers: int = 1,
    grammar: Grammar | None = None,
    batch_rows: int = 256,
    progress: Callable[[int], None] | None = None,
    prefix: Sequence[int] | None = None,
    own: bool = False,
    least_width: int = 0,
) -> Samples:
    """Draws completions of all prompts.

    Prompts are sorted by length and cut into batches of one size, each padded to its longest,
    rounded up; the last batch is filled with repeats that are thrown away. So there is one compiled
    program a width, and hardly a padded row. Where completions are long, one may end long before
    another: then all prompts have one width, and those that wait take the places of those that have
    ended. Row order is the prompts' own. Where the decoder's rows lie on several devices, each gets
    an equal part of every batch.

    Args:
        decoder: the model.
        variables: `params`, and `lora` where the decoder has an adapter.
        prompts: token ids of N prompts, each at least one token.
        sampling: how to draw.
        stop_ids: tokens that end a completion.
        keys_B: one key for each of the N x n rows.
        answers: n, completions a prompt.
        grammar: what may be written, or None.
        batch_rows: completions decoded side by side, at most; at least `answers` a device.
        progress: called with the number of rows finished by each batch.
        prefix: what all prompts begin with; None finds it. Each length is a program of its own.
        own: give only those rows that this process' devices drew, and say which; every row is
            given by one process. Else every process gets all.
        least_width: of what follows the prefix in every batch: calls with prompts of other lengths
            then share their program.

    Returns:
        `Samples` of N x n rows in the prompts' order, as NumPy arrays.

    Raises:
        UserError: no prompts, or one that leaves no room for the completion.
    """
    if not prompts:
        raise UserError("no prompts to answer: ask for at least one")
    limit = decoder.config.max_positions - sampling.max_new_tokens
    for index, prompt in enumerate(prompts):
        if len(prompt) > limit:
            raise UserError(
                f"prompt {index + 1}: {len(prompt)} tokens and {sampling.max_new_tokens} new ones "
                f"are longer than the context of {decoder.config.max_positions}; shorten it"
            )
    prefix = shared_prefix(prompts) if prefix is None else list(prefix)
    devices = pieces(decoder.rows)
    size = max(min(batch_rows // answers, len(prompts)), 1)
    size = max(size // devices, 1) * devices if size < len(prompts) else round_up(size, devices)
    if sampling.max_new_tokens >= LONG and size < len(prompts):
        width = padded_width(max(*map(len, prompts), len(prefix) + least_width) - len(prefix))
        return generate_refilled(
            Sampler(decoder, sampling, answers),
            variables,
            _pad(prompts, prefix, width, devices),
            keys_B,
            grammar,
            np.asarray(stop_ids, np.int32),
            size,
            progress,
            own,
        )
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    rows_of, parts = [], []
    for first in range(0, len(prompts), size):
        chosen = by_length[first : first + size]
        filled = chosen + [chosen[-1]] * (size - len(chosen))
        width = padded_width(max(len(prompts[chosen[-1]]) - len(prefix), least_width))
        batch = _pad([prompts[i] for i in filled], prefix, width, devices)
        rows = np.add.outer(np.asarray(filled) * answers, np.arange(answers)).reshape(-1)
        samples = _sample(
            decoder,
            sampling,
            answers,
            variables,
            place(batch, decoder.rows),
            place(keys_B[rows], decoder.rows),
            grammar,
            np.asarray(stop_ids, np.int32),
        )
        count = len(chosen) * answers
        if own:
            held, drawn = fetch_own(samples, decoder.rows)
        else:
            held, drawn = np.arange(size * answers), fetch(samples)
        counts = held < count
        parts.append(jax.tree.map(lambda x, counts=counts: x[counts], drawn))
        rows_of.append(rows[held[counts]])
        if progress is not None:
            progress(count)
    every = np.concatenate(rows_of)
    order = np.argsort(every)
    samples = jax.tree.map(lambda *pieces: np.concatenate(pieces)[order], *parts)
    return dataclasses.replace(samples, rows=every[order]) if own else samples


def completion_ids(samples: Samples, stop_ids: Sequence[int]) -> list[list[int]]:
    """Each row's tokens without its stop token; a row cut at the limit keeps all."""
    rows = []
    for tokens, length in zip(samples.tokens, samples.lengths, strict=True):
        ids = [int(token) for token in tokens[:length]]
        rows.append(ids[:-1] if ids and ids[-1] in stop_ids else ids)
    return rows


def padded_width(length: int) -> int:
    """A prompt's padded length, an eighth or three tokens more at most: few widths serve all."""
    return round_up(length, max(4, 2 ** (length.bit_length() - 4)))


def _pad(prompts, prefix, width, devices) -> Prompts:
    N, P = len(prompts), len(prefix)
    tokens, positions = np.zeros((N, width), np.int32), np.full((N, width), -1, np.int32)
    for row, prompt in enumerate(prompts):
        rest = prompt[P:]
        tokens[row, : len(rest)] = rest
        positions[row, : len(rest)] = np.arange(P, len(prompt))
    lengths = np.asarray([len(prompt) for prompt in prompts], np.int32)
    return Prompts(np.tile(np.asarray(prefix, np.int32), (devices, 1)), tokens, positions, lengths)
