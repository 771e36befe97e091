"""How many rows are sampled at a time: as many as there is memory for."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sublax.models.decoder import Decoder
from sublax.parallel import memory
from sublax.parallel.layout import pieces
from sublax.sampling.draw import Sampling
from sublax.sampling.grammar import Grammar
from sublax.sampling.sampler import Prompts, sample


def fitting_rows(
    decoder: Decoder,
    sampling: Sampling,
    answers: int,
    variables: dict[str, Any],
    mesh: Mesh,
    prompt_lengths: tuple[int, int],
    grammar: Grammar | None,
    stop_K: np.ndarray,
    wanted: int,
    free_bytes: int | None = None,
) -> int:
    """Rows that `generate` may decode side by side.

    Args:
        decoder: the model.
        sampling: how to draw, and the longest completion.
        answers: n, completions a prompt.
        variables: `params`, and `lora` where the decoder has an adapter, on their devices.
        mesh: these devices.
        prompt_lengths: tokens that all prompts share, and of the longest prompt's rest.
        grammar: what may be written, or None.
        stop_K: int32, tokens that end a row.
        wanted: rows in all.
        free_bytes: of each device; None asks the devices.

    Returns:
        A multiple of `answers`, at least that.
    """

    def needed(prompts: int) -> float:
        program = lower_sample(
            decoder, sampling, answers, variables, prompt_lengths, grammar, stop_K, prompts
        )
        return memory.bytes_to_compile(program) - memory.shard_bytes(variables)

    free = memory.free_bytes(mesh) if free_bytes is None else free_bytes
    fewest, most = pieces(decoder.rows), max(wanted // answers, 1)
    return memory.most_that_fit(needed, fewest, most, free) * answers


def lower_sample(
    decoder: Decoder,
    sampling: Sampling,
    answers: int,
    variables: dict[str, Any],
    prompt_lengths: tuple[int, int],
    grammar: Grammar | None,
    stop_K: np.ndarray,
    prompts: int,
) -> jax.stages.Lowered:
    """The sampling of some prompts' answers, to be compiled, from shapes alone.

    Args:
        decoder: the model.
        sampling: how to draw, and the longest completion.
        answers: n, completions a prompt.
        variables: `params`, and `lora` where the decoder has an adapter: shapes and shardings.
        prompt_lengths: tokens that all prompts share, and of the longest prompt's rest.
        grammar: what may be written, or None.
        stop_K: int32, tokens that end a row.
        prompts: N, a multiple of what the decoder's rows are cut into.
    """
    shared, rest = prompt_lengths
    key = jax.eval_shape(lambda: jax.random.key(0))

    def lay(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=decoder.rows)

    given = Prompts(
        lay((pieces(decoder.rows), shared), np.int32),
        lay((prompts, rest), np.int32),
        lay((prompts, rest), np.int32),
        lay((prompts,), np.int32),
    )
    keys_B = lay((prompts * answers,), key.dtype)
    program = jax.jit(sample, static_argnums=(0, 1, 2))
    return program.lower(decoder, sampling, answers, variables, given, keys_B, grammar, stop_K)
