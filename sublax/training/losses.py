"""What a student is trained on: tokens, or the teacher's distribution, at completion positions.

Both losses take the last hidden states at completion positions alone, and go over them in chunks,
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
        kind: `cross_entropy` on the completion's tokens, or `kl` to the teacher's distribution.
        direction: of `kl`: `forward`, KL(teacher || student), or `reverse`.
        temperature: of `kl`: both logits are divided by it, and the loss multiplied by its square
            (Hinton et al., arXiv 1503.02531, section 2).
        chunk: positions whose logits exist on a device at a time; at least one of every row.
    """

    kind: str = "cross_entropy"
    direction: str = "forward"
    temperature: float = 1.0
    chunk: int = 1024


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


def _logits(hidden, kernel):
    return jnp.einsum(
        "...d,dv->...v", hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sum_over_chunks(one: Callable, chunk: int, kernel, fixed, hidden, others):
    """Sum of `one(kernel, fixed, hidden, *others)` over slices of the last two's second axis.

    A chunk takes its part of every row: the first axis is what lies on several devices. The
    gradients of `kernel` and `hidden` are computed with the value, so that a chunk's logits are
    made once, and are gone before the next chunk's. Nothing else has a gradient.
    """
    return _value_and_gradients(one, chunk, kernel, fixed, hidden, others)[0]


def _value_and_gradients(one: Callable, chunk: int, kernel, fixed, hidden, others):
    value_and_grad = jax.value_and_grad(one, argnums=(0, 2))
    B, C = hidden.shape[:2]
    if chunk >= B * C:
        return value_and_grad(kernel, fixed, hidden, *others)
    width = max(chunk // B, 1)
    chunks = -(-C // width)
    padding = chunks * width - C  # padded weights are zero, so padded positions count nothing

    def fold(array):
        rest = array.shape[2:]
        padded = jnp.pad(array, [(0, 0), (0, padding)] + [(0, 0)] * len(rest))
        return jnp.moveaxis(padded.reshape(B, chunks, width, *rest), 1, 0)

    folded = [fold(array) for array in (hidden, *others)]

    def body(total, slices):
        value, (of_kernel, of_hidden) = value_and_grad(kernel, fixed, *slices)
        # Where nobody asks for the kernel's gradient, the compiler drops this sum.
        return (total[0] + value, total[1] + of_kernel), of_hidden

    start = (jnp.zeros((), jnp.float32), jnp.zeros_like(kernel))
    (value, of_kernel), of_hidden = jax.lax.scan(body, start, folded)
    of_hidden = jnp.moveaxis(of_hidden, 0, 1).reshape(B, chunks * width, -1)[:, :C]
    return value, (of_kernel, of_hidden)


def _forward(one, chunk, kernel, fixed, hidden, others):
    return _value_and_gradients(one, chunk, kernel, fixed, hidden, others)


def _backward(one, chunk, gradients, cotangent):
    of_kernel, of_hidden = jax.tree.map(
        lambda gradient: (cotangent * gradient).astype(gradient.dtype), gradients
    )
    return of_kernel, None, of_hidden, None


_sum_over_chunks.defvjp(_forward, _backward)
