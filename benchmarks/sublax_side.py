"""Our side of the benchmarks: the same work as `peft_peer`, through sublax's own programs."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Unit, Work
from benchmarks.workload import Rows
from sublax.keys import key_of, row_keys
from sublax.models import completions
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.source import Model, load_model
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import single_device_mesh
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.sampling.grammar import Grammar
from sublax.training.loop import update_program
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.shardings import abstract_state
from sublax.training.step import Batch, Frozen, Objective, init_state

LORA = LoraConfig(rank=8, alpha=16.0)
STEPS = 1000  # more than are timed


def student_updates(
    folder: str,
    batches: Sequence[Rows],
    teacher_hidden_BxCxD: np.ndarray | None = None,
    columns: list[int] | None = None,
    learning_rate: float = 6e-4,
) -> Unit:
    """One LoRA update of every student in one program; one batch is one student.

    Args:
        folder: the model, in Hugging Face layout.
        batches: one a student.
        teacher_hidden_BxCxD: where given, the loss is KL to the base's head over these states.
        columns: of KL, the tokens that it is taken over; None is the vocabulary.
        learning_rate: of AdamW.
    """
    model = load_model(folder)
    loss = LossConfig("cross_entropy" if teacher_hidden_BxCxD is None else "kl")
    frozen = Frozen(params=model.params)
    if teacher_hidden_BxCxD is not None:
        tokens = None if columns is None else jnp.asarray(columns)
        kernel = head_kernel(model.params, model.config, tokens)
        frozen = dataclasses.replace(frozen, columns=tokens, teacher_kernel=kernel)
    adapter = init_lora(model.config, LORA, key_of(0, "benchmark"))
    packed = [_batch(model, rows, teacher_hidden_BxCxD) for rows in batches]
    objective = Objective(model.config, LORA, loss, remat="dots")
    return _unit(objective, learning_rate, adapter, frozen, packed)


def full_update(folder: str, rows: Rows, learning_rate: float = 1e-5) -> Unit:
    """One full fine-tuning update."""
    model = load_model(folder)
    objective = Objective(model.config, None, LossConfig(), remat="dots")
    return _unit(objective, learning_rate, model.params, Frozen(), [_batch(model, rows, None)])


def generation(
    folder: str,
    prompts: list[list[int]],
    answers: int,
    tokens_A: np.ndarray,
    next_state_SxA: np.ndarray,
    start: int,
    stop_token: int,
    max_new_tokens: int,
) -> Unit:
    """Constrained sampling; the amount is in tokens drawn."""
    model = load_model(folder)
    grammar = Grammar(tokens_A, next_state_SxA, start)
    keys = row_keys(key_of(0, "benchmark"), len(prompts) * answers)

    def unit() -> Work:
        samples = generate(
            Decoder(model.config),
            {"params": model.params},
            prompts,
            Sampling(max_new_tokens),
            [stop_token],
            keys,
            answers,
            grammar,
            batch_rows=len(prompts) * answers,
        )
        return Work(float(samples.lengths.sum()))

    return unit


def _batch(model: Model, rows: Rows, teacher_hidden_BxCxD) -> Batch:
    """One microbatch [1, ...] of the rows."""
    C = rows.completion
    encoded = [(row[:-C].tolist(), row[-C:].tolist()) for row in rows.tokens_BxT]
    packed = completions.make_rows(encoded, model.config.max_positions)
    return jax.tree.map(lambda leaf: leaf[None], Batch(packed, teacher_hidden_BxCxD))


def _unit(objective: Objective, learning_rate: float, trained, frozen: Frozen, batches) -> Unit:
    """One update of all students; parameters are the units' own, since updates donate them."""
    rule = OptimizerConfig(learning_rate=learning_rate, b2=0.95, clip=0.0)
    count, optimizer = len(batches), make_optimizer(rule, STEPS)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), init_state(optimizer, trained))
    layout = Layout(single_device_mesh())
    abstract = abstract_state(objective, optimizer, layout, count)
    state = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, abstract))
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    if frozen.teacher_kernel is not None:
        kernels = jnp.stack([frozen.teacher_kernel] * count)
        frozen = dataclasses.replace(frozen, teacher_kernel=kernels)
    program = update_program(objective, rule, STEPS, layout, count)
    holder = [state]

    def unit() -> Work:
        holder[0], metrics = program(holder[0], frozen, batch)
        jax.block_until_ready(holder[0])
        return Work(loss=float(jnp.mean(metrics["loss"])))

    return unit
