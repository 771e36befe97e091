"""One update of one student or teacher, as a pure function; `vmap` makes it one of many."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import NamedSharding

from sublax.models.attention_backends import XLA, Attention
from sublax.models.completions import Rows, completion_hidden
from sublax.models.config import DecoderConfig
from sublax.models.decoder import SOFT_PROMPT, Decoder, head_kernel
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import pieces
from sublax.training.losses import (
    DPO_METRICS,
    LossConfig,
    cross_entropy,
    dpo,
    is_pair,
    kl_divergence,
    sequence_logprobs,
)


@struct.dataclass
class Batch:
    """What one update reads of its dataset.

    Attributes:
        rows: the rows.
        teacher_hidden: float32 [B, C, E], the last hidden states that the teacher had when it
            wrote these completions; None but for KL.
        reference_logprobs: float32 [B], log-probability of each completion where the student
            starts; None but for DPO, whose rows are pairs (see `losses.dpo`).
    """

    rows: Rows
    teacher_hidden: jax.Array | np.ndarray | None = None
    reference_logprobs: jax.Array | np.ndarray | None = None


@struct.dataclass
class Frozen:
    """What an update reads and does not change.

    Attributes:
        params: the base's parameters under an adapter or a soft prompt; None when they are trained
            themselves.
        columns: int32 [A], the tokens that KL is taken over; None is the whole vocabulary.
        teacher_kernel: [E, A], the teacher's output head over these tokens; None without KL, or
            where it is the very head that is trained under.
    """

    params: Any = None
    columns: jax.Array | np.ndarray | None = None
    teacher_kernel: Any = None


@struct.dataclass
class TrainState:
    """What an update changes.

    Attributes:
        step: int32, updates done.
        trained: the adapter, the soft prompt, or all parameters.
        moments: the optimizer's state.
    """

    step: jax.Array
    trained: Any
    moments: Any


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is trained and on which loss.

    Attributes:
        config: the decoder.
        lora: the adapter's config, or None for full fine-tuning.
        loss: the loss.
        dtype: of weights at use and of activations.
        remat: what the backward pass computes again; see `Decoder`.
        rows: how a student's rows are spread over devices; see `Decoder`.
        attention: what computes attention; see `Decoder`.
        soft_prompt: how many vectors of a soft prompt are trained in place of all else, and stand
            in the rows as tokens beyond the vocabulary; 0 for none.
    """

    config: DecoderConfig
    lora: LoraConfig | None
    loss: LossConfig
    dtype: Any = jnp.float32
    remat: str = "none"
    rows: NamedSharding | None = None
    attention: Attention = XLA
    soft_prompt: int = 0

    def variables(self, trained: Any, frozen: Frozen) -> dict[str, Any]:
        """The decoder's collections: what is trained in its place, what is frozen in the other."""
        if self.soft_prompt:
            return {"params": frozen.params, SOFT_PROMPT[0]: trained}
        if self.lora is None:
            return {"params": trained}
        return {"params": frozen.params, "lora": trained}


def loss_sum(objective: Objective, trained, frozen: Frozen, batch: Batch):
    """The loss, in natural log, summed over what `loss_weight` counts, to be divided by that.

    Returns:
        (float32 scalar, what else the loss measures by its name, summed alike).
    """
    variables = objective.variables(trained, frozen)
    params = variables["params"]
    decoder = Decoder(
        objective.config,
        objective.lora,
        objective.dtype,
        objective.remat,
        objective.rows,
        objective.attention,
    )
    hidden_BxCxD = completion_hidden(decoder, variables, batch.rows)
    weights_BxC = batch.rows.weights
    kernel = head_kernel(params, objective.config, frozen.columns)
    # Every chunk gathers the head and sums its gradient over devices: no more of them than one
    # device's own positions ask for.
    chunk = objective.loss.chunk * pieces(objective.rows)
    loss = dataclasses.replace(objective.loss, chunk=chunk)
    if loss.kind == "cross_entropy":
        targets = batch.rows.targets
        return cross_entropy(hidden_BxCxD, kernel, targets, weights_BxC, loss.chunk), {}
    if loss.kind == "kl":
        teacher = jnp.asarray(batch.teacher_hidden)
        theirs = kernel if frozen.teacher_kernel is None else frozen.teacher_kernel
        divergence = kl_divergence(hidden_BxCxD, kernel, teacher, theirs, weights_BxC, loss)
        return divergence, {}
    if loss.kind == "dpo":
        logprobs_B = sequence_logprobs(
            hidden_BxCxD, kernel, batch.rows.targets, weights_BxC, loss.chunk
        )
        reference_B = jnp.asarray(batch.reference_logprobs)
        return dpo(logprobs_B, reference_B, is_pair(weights_BxC), loss.beta)
    raise ValueError(f"no loss {loss.kind!r}: choose cross_entropy, kl or dpo")


def loss_weight(loss: LossConfig, rows: Rows):
    """What a loss is divided by: completion tokens, or pairs for DPO; at least 1.

    Args:
        loss: which.
        rows: with any leading axes, of microbatches.
    """
    counted = is_pair(rows.weights) if loss.kind == "dpo" else rows.weights
    return jnp.maximum(counted.sum(), 1.0)


def init_state(optimizer: optax.GradientTransformation, trained) -> TrainState:
    """The state before the first update."""
    return TrainState(jnp.zeros((), jnp.int32), trained, optimizer.init(trained))


def update(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    frozen: Frozen,
    batches: Batch,
):
    """One update on one or several microbatches; every completion token, or pair, weighs the same.

    Args:
        objective: what is trained, on which loss.
        optimizer: the update rule.
        state: before the update.
        frozen: what is read only.
        batches: a `Batch` whose arrays have a leading axis of microbatches (the prefix too). Each
            one's loss is divided by the tokens of all, so uneven rows weigh by tokens.

    Returns:
        (state, {"loss": mean per completion token, or per pair for DPO, "gradient_norm", and what
        else the loss measures}), float32 scalars.
    """
    # Known before the gradients, so that the loss is divided and not each of them afterwards.
    weight = loss_weight(objective.loss, batches.rows)

    def mean(trained, batch):
        return jax.tree.map(lambda x: x / weight, loss_sum(objective, trained, frozen, batch))

    value_and_grad = jax.value_and_grad(mean, has_aux=True)

    def accumulate(total, batch):
        return jax.tree.map(jnp.add, total, value_and_grad(state.trained, batch)), None

    if batches.rows.tokens.shape[0] == 1:
        found = value_and_grad(state.trained, jax.tree.map(lambda x: x[0], batches))
    else:
        zero = jnp.zeros((), jnp.float32)
        others = dict.fromkeys(DPO_METRICS if objective.loss.kind == "dpo" else (), zero)
        zeros = ((zero, others), jax.tree.map(jnp.zeros_like, state.trained))
        found, _ = jax.lax.scan(accumulate, zeros, batches)
    (loss, others), gradients = found
    updates, moments = optimizer.update(gradients, state.moments, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    metrics = {"loss": loss, **others, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, trained, moments), metrics
