"""What a student is trained on: tokens, the teacher's distribution, or the teacher's choices.

All losses take the last hidden states at completion positions alone, and go over them in chunks,
so that logits over a whole vocabulary never exist for more than one chunk, forward or backward.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Attributes:
        kind: `cross_entropy` on the completion's tokens, `kl` to the teacher's distribution, or
            `dpo` on which of two completions the teacher chose.
        direction: of `kl`: `forward`, KL(teacher || student), or `reverse`.
        temperature: of `kl`: both logits are divided by it, and the loss multiplied by its square
            (Hinton et al., arXiv 1503.02531, section 2).
        chunk: positions whose logits exist on a device at a time; at least one of every row.
        beta: of `dpo`: how dear it is to leave the reference; above 0.
    """

    kind: str = "cross_entropy"
    direction: str = "forward"
    temperature: float = 1.0
    chunk: int = 1024
    beta: float = 0.1

    @property
    def rows_each(self) -> int:
        """Rows of a batch that one row of a dataset is: of DPO the two completions of a pair."""
        return 2 if self.kind == "dpo" else 1


# What `dpo` measures beside its loss.
DPO_METRICS = ("reward_margin", "reward_accuracy")


def cross_entropy(hidden_BxCxD, kernel_DxV, targets_BxC, weights_BxC, chunk: int):
    """Weighted sum of -log p(target).

    Args:
        hidden_BxCxD: last hidden states.
        kernel_DxV: the output head.
        targets_BxC: int32.
        weights_BxC: float32; 0 for padding.
        chunk: positions at a time.

    Returns:
        float32 scalar, natural log.
    """

    def one(kernel, _, hidden, targets, weights):
        logits = _logits(hidden, kernel)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jnp.sum(weights * (jax.nn.logsumexp(logits, axis=-1) - chosen))

    return _sum_over_chunks(one, chunk, kernel_DxV, None, hidden_BxCxD, (targets_BxC, weights_BxC))


def kl_divergence(
    hidden_BxCxD,
    kernel_DxA,
    teacher_hidden_BxCxE,
    teacher_kernel_ExA,
    weights_BxC,
    loss: LossConfig,
):
    """Weighted sum of the divergence between the teacher's and the student's distributions.

    Args:
        hidden_BxCxD: the student's last hidden states.
        kernel_DxA: its output head, over the vocabulary or a subset of A tokens.
        teacher_hidden_BxCxE: the teacher's last hidden states, kept when it wrote the row.
        teacher_kernel_ExA: the teacher's output head over the same tokens.
        weights_BxC: float32; 0 for padding.
        loss: direction, temperature and chunk.

    Returns:
        float32 scalar, natural log.

    Raises:
        ValueError: a direction that is neither `forward` nor `reverse`.
    """
    if loss.direction not in ("forward", "reverse"):
        raise ValueError(f"no KL direction {loss.direction!r}: choose forward or reverse")

    def one(kernel, teacher_kernel, hidden, teacher_hidden, weights):
        student = _logits(hidden, kernel) / loss.temperature
        teacher = _logits(teacher_hidden, teacher_kernel) / loss.temperature
        left, right = (teacher, student) if loss.direction == "forward" else (student, teacher)
        left_total = jax.nn.logsumexp(left, axis=-1, keepdims=True)
        right_total = jax.nn.logsumexp(right, axis=-1)
        # Logits need no subtraction of their own: the probabilities of `left` sum to one.
        divergence = jnp.sum(jnp.exp(left - left_total) * (left - right), axis=-1)
        divergence += right_total - left_total[..., 0]
        return loss.temperature**2 * jnp.sum(weights * divergence)

    return _sum_over_chunks(
        one,
        loss.chunk,
        kernel_DxA,
        teacher_kernel_ExA,
        hidden_BxCxD,
        (teacher_hidden_BxCxE, weights_BxC),
    )


def sequence_logprobs(hidden_BxCxD, kernel_DxV, targets_BxC, weights_BxC, chunk: int):
    """log p(completion) of each row, the weighted sum over its tokens; differentiable.

    What hangs on a row's sum alone says, at the end, how much each of its positions weighs. So the
    backward pass makes each chunk's logits again, where the losses that are sums over positions
    need them once.

    Args:
        hidden_BxCxD: last hidden states.
        kernel_DxV: the output head.
        targets_BxC: int32.
        weights_BxC: float32; 0 for padding.
        chunk: positions at a time.

    Returns:
        float32 [B], natural log.
    """

    @jax.checkpoint
    def add(total_B, slices):
        hidden, targets, weights = slices
        logits = _logits(hidden, kernel_DxV)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        logprobs = chosen - jax.nn.logsumexp(logits, axis=-1)
        return total_B + jnp.sum(weights * logprobs, axis=1), None

    B = hidden_BxCxD.shape[0]
    folded = _chunks((hidden_BxCxD, targets_BxC, weights_BxC), chunk)
    total_B, _ = jax.lax.scan(add, jnp.zeros(B, jnp.float32), folded)
    return total_B


def is_pair(weights_BxC):
    """1 for a pair of rows that is one, 0 for padding: float32 [..., B / 2] of [..., B, C]."""
    return (weights_BxC.sum(axis=-1) > 0)[..., ::2].astype(jnp.float32)


def dpo(logprobs_B, reference_B, is_pair_P, beta: float):
    """Direct preference optimization, summed over pairs.

    -log sigmoid(beta log(p(chosen) / q(chosen)) - beta log(p(rejected) / q(rejected))), where p is
    the student and q the reference (Rafailov et al. 2023, arXiv 2305.18290, equation 7). The two
    terms are the implicit rewards of the completions.

    Args:
        logprobs_B: log p of each row, float32; rows 2k and 2k + 1 are the chosen and the rejected
            completion of pair k.
        reference_B: log q of each row.
        is_pair_P: 1 for a pair, 0 for padding, float32 [B / 2].
        beta: how dear it is to leave the reference.

    Returns:
        (loss, {"reward_margin", "reward_accuracy"}), float32 scalars, each summed over the pairs:
        the reward of the chosen completion minus that of the rejected one, and whether it is above
        zero.
    """
    rewards_Px2 = beta * (logprobs_B - reference_B).reshape(-1, 2)
    margin_P = rewards_Px2[:, 0] - rewards_Px2[:, 1]
    loss = -jnp.sum(is_pair_P * jax.nn.log_sigmoid(margin_P))
    margin = jnp.sum(is_pair_P * margin_P)
    accuracy = jnp.sum(is_pair_P * (margin_P > 0))
    return loss, dict(zip(DPO_METRICS, (margin, accuracy), strict=True))


def _logits(hidden, kernel):
    return jnp.einsum(
        "...d,dv->...v", hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32
    )


def _sum_over_chunks(one: Callable, chunk: int, kernel, fixed, hidden, others):
    """Sum of `one(kernel, fixed, hidden, *others)` over slices of the last two's second axis.

    A chunk takes its part of every row: the first axis is what lies on several devices. Nothing but
    `kernel` and `hidden` has a gradient.
    """
    fixed, others = jax.lax.stop_gradient((fixed, others))
    if chunk >= hidden.shape[0] * hidden.shape[1]:
        # Left to the compiler, a tied head's gradient is made in the embedding's own order.
        return one(kernel, fixed, hidden, *others)
    return _in_chunks(one, chunk, kernel, fixed, hidden, others)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_chunks(one: Callable, chunk: int, kernel, fixed, hidden, others):
    """The same in several chunks.

    The gradients of `kernel` and `hidden` are computed with the value, so that a chunk's logits are
    made once, and are gone before the next chunk's.
    """
    return _value_and_gradients(one, chunk, kernel, fixed, hidden, others)[0]


def _value_and_gradients(one: Callable, chunk: int, kernel, fixed, hidden, others):
    value_and_grad = jax.value_and_grad(one, argnums=(0, 2))
    B, C = hidden.shape[:2]
    folded = _chunks((hidden, *others), chunk)

    def body(total, slices):
        value, (of_kernel, of_hidden) = value_and_grad(kernel, fixed, *slices)
        # Where nobody asks for the kernel's gradient, the compiler drops this sum.
        return (total[0] + value, total[1] + of_kernel), of_hidden

    start = (jnp.zeros((), jnp.float32), jnp.zeros_like(kernel))
    (value, of_kernel), of_hidden = jax.lax.scan(body, start, folded)
    of_hidden = jnp.moveaxis(of_hidden, 0, 1).reshape(B, -1, hidden.shape[2])[:, :C]
    return value, (of_kernel, of_hidden)


def _chunks(arrays, chunk: int):
    """Arrays [B, C, ...] as slices [chunks, B, width, ...] of at most `chunk` positions each."""
    B, C = arrays[0].shape[:2]
    chunks = -(-C // max(chunk // B, 1))
    width = -(-C // chunks)  # all alike, so that the last is not mostly padding
    padding = chunks * width - C  # padded weights are zero, so padded positions count nothing

    def fold(array):
        rest = array.shape[2:]
        padded = jnp.pad(array, [(0, 0), (0, padding)] + [(0, 0)] * len(rest))
        return jnp.moveaxis(padded.reshape(B, chunks, width, *rest), 1, 0)

    return tuple(fold(array) for array in arrays)


def _forward(one, chunk, kernel, fixed, hidden, others):
    return _value_and_gradients(one, chunk, kernel, fixed, hidden, others)


def _backward(one, chunk, gradients, cotangent):
    of_kernel, of_hidden = jax.tree.map(
        lambda gradient: (cotangent * gradient).astype(gradient.dtype), gradients
    )
    return of_kernel, None, of_hidden, None


_in_chunks.defvjp(_forward, _backward)
