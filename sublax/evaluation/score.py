"""The log-probability of each row's completion, in few compiled shapes however many rows."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sublax.models.chat import shared_prefix
from sublax.models.completions import (
    abstract_spread_rows,
    completion_hidden,
    make_rows,
    round_up,
    spread_rows,
    token_logprobs,
)
from sublax.models.decoder import Decoder, head_kernel
from sublax.parallel.arrays import fetch

# Rows that run side by side.
BATCH_ROWS = 32


def completion_logprobs(
    decoder: Decoder,
    variables: dict[str, Any],
    encoded: Sequence[tuple[list[int], list[int]]],
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """log p(completion | prompt), summed over the completion's tokens.

    Rows are sorted by length into buckets, a few padded lengths from which each is filled by at
    least two thirds (beyond the first few tokens); a bucket is one compiled program.

    Args:
        decoder: the model.
        variables: `params`, and `lora` where the decoder has an adapter.
        encoded: (prompt ids, completion ids) of N rows, as `encode_row` gives them: completions
            end with the end-of-turn token, which counts.
        batch_rows: rows that run side by side, at most.
        progress: called with the number of rows finished by each batch.

    Returns:
        float32 [N], natural log, in the order of the rows.

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    prefix = shared_prefix([prompt for prompt, _ in encoded])
    buckets: dict[int, list[int]] = {}
    for index, (prompt, completion) in enumerate(encoded):
        width = padded_length(len(prompt) + len(completion) - 1 - len(prefix))
        buckets.setdefault(width, []).append(index)
    logprobs_N = np.zeros(len(encoded), np.float32)
    for width, members in sorted(buckets.items()):
        completion_width = round_up(max(len(encoded[index][1]) for index in members))
        size = min(batch_rows, len(members))
        for first in range(0, len(members), size):
            chosen = members[first : first + size]
            filled = chosen + [chosen[-1]] * (size - len(chosen))
            rows = make_rows(
                [encoded[index] for index in filled],
                decoder.config.max_positions,
                prefix,
                width,
                completion_width,
            )
            spread = spread_rows(rows, decoder.rows)
            batch_B = fetch(_batch_logprobs(decoder, variables, spread))
            logprobs_N[chosen] = batch_B[: len(chosen)]
            if progress is not None:
                progress(len(chosen))
    return logprobs_N


def lower_completion_logprobs(
    decoder: Decoder, variables: dict[str, Any], encoded: Sequence[tuple[list[int], list[int]]]
) -> jax.stages.Lowered:
    """The program of `completion_logprobs` on rows of one length, to be compiled, from shapes."""
    prompt, completion = encoded[0]
    width, size = padded_length(len(prompt) + len(completion) - 1), round_up(len(completion))
    rows = make_rows(encoded, decoder.config.max_positions, [], width, size)
    return _batch_logprobs.lower(decoder, variables, abstract_spread_rows(rows, decoder.rows))


def padded_length(length: int) -> int:
    """The next of 8, 12, 16, 24, 32, 48, 64, ...: powers of two and the middles between them."""
    power = 8
    while power < length:
        power *= 2
    return power * 3 // 4 if power > 8 and length <= power * 3 // 4 else power


def _score(decoder, variables, rows):
    hidden_BxCxD = completion_hidden(decoder, variables, rows)
    kernel_DxV = head_kernel(variables["params"], decoder.config)
    logprobs_BxC, _ = token_logprobs(hidden_BxCxD, kernel_DxV, rows.targets)
    return (logprobs_BxC * rows.weights).sum(axis=1)


_batch_logprobs = jax.jit(_score, static_argnums=0)
