"""Theorem 1 as a check on any model: a step of imitation does not raise the teacher's own loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Params = Any
Loss = Callable[[Params], jax.Array]
Imitation = Callable[[Params, Params], jax.Array]


class OneStep(NamedTuple):
    """What one step of imitation does; float32 scalars.

    Attributes:
        inner: <student's update, teacher's update>, as the steps are.
        quadratic: the same to first order in the teacher's step, student_rate <d, G d> for the
            teacher's update d and the Gauss-Newton matrix G of the imitation at the teacher's
            start: what `inner` is for a small step from a shared start, and never negative.
        cosine: `inner` over the product of both updates' lengths.
        predicted: change of the teacher's own loss to first order in the student's step.
        measured: that change.
    """

    inner: jax.Array
    quadratic: jax.Array
    cosine: jax.Array
    predicted: jax.Array
    measured: jax.Array


def one_step(
    own_loss: Loss,
    imitation: Imitation,
    start: Params,
    teacher_rate: float,
    student_rate: float,
    student_start: Params | None = None,
) -> OneStep:
    """Takes one step of a teacher on its own loss, and one of a student on imitating it.

    Theorem 1 (arXiv 2507.14805, section 6): from a shared start, whatever the inputs of the
    imitation are, a student's small step on it does not raise the teacher's own loss. Let J be the
    Jacobian of the outputs at the start, and d = -teacher_rate grad(own_loss) the teacher's update.
    An imitation loss that is least where both outputs agree, with Hessian H >= 0 in the outputs
    there (squared error: a multiple of 1; cross-entropy and KL: that of the log-partition), has the
    gradient -J^T H J d + O(d^2) for a student at the start. So

        <student's update, d> = student_rate (J d)^T H (J d) + O(d^3) >= 0,

    and the own loss changes by -<student's update, d> / teacher_rate to first order. From another
    start the gradient is not of that form, and the sign is open.

    Everything is a gradient, or the derivative of one along d: no Jacobian is formed, so it costs a
    few gradients for a model of any size. Pure; to be jitted, or mapped over starts.

    Args:
        own_loss: of the teacher, a function of parameters.
        imitation: of (student's parameters, teacher's parameters); see `imitation_of`.
        start: a tree of float32 arrays, where the teacher starts.
        teacher_rate: of gradient descent, above 0 and small.
        student_rate: the same.
        student_start: the student's, where it is not `start`.
    """
    student = start if student_start is None else student_start
    teacher_step = _scaled(-teacher_rate, jax.grad(own_loss)(start))
    student_gradient = jax.grad(imitation)
    taught = student_gradient(student, _sum(start, teacher_step))
    student_step = _scaled(-student_rate, taught)
    # How the gradient of a student that stands at the start moves with the teacher.
    _, moved = jax.jvp(lambda teacher: student_gradient(start, teacher), (start,), (teacher_step,))
    before, gradient = jax.value_and_grad(own_loss)(student)
    inner = _inner(student_step, teacher_step)
    lengths = jnp.sqrt(_inner(student_step, student_step) * _inner(teacher_step, teacher_step))
    return OneStep(
        inner=inner,
        quadratic=-student_rate * _inner(moved, teacher_step),
        cosine=inner / jnp.maximum(lengths, jnp.finfo(jnp.float32).tiny),
        predicted=_inner(gradient, student_step),
        measured=own_loss(_sum(student, student_step)) - before,
    )


def imitation_of(outputs: Callable[[Params], jax.Array], loss: str = "kl") -> Imitation:
    """An imitation loss over inputs that `outputs` has fixed.

    Args:
        outputs: from parameters to logits [..., L] on any inputs.
        loss: `kl`, KL(teacher || student) of their softmax in nats, mean over all but L, or
            `squared`, half the squared distance summed over L, mean over the rest.

    Raises:
        ValueError: no such loss.
    """
    if loss not in ("kl", "squared"):
        raise ValueError(f"loss {loss!r} is neither kl nor squared")

    def compare(student: Params, teacher: Params) -> jax.Array:
        student_xL, teacher_xL = outputs(student), outputs(teacher)
        if loss == "squared":
            return 0.5 * jnp.mean(jnp.sum((student_xL - teacher_xL) ** 2, axis=-1))
        student_xL, teacher_xL = jax.nn.log_softmax(student_xL), jax.nn.log_softmax(teacher_xL)
        return jnp.mean(jnp.sum(jnp.exp(teacher_xL) * (teacher_xL - student_xL), axis=-1))

    return compare


def _inner(one: Params, other: Params) -> jax.Array:
    """The inner product of two trees, float32."""
    products = jax.tree.map(lambda a, b: jnp.vdot(a, b).astype(jnp.float32), one, other)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def _sum(one: Params, other: Params) -> Params:
    return jax.tree.map(jnp.add, one, other)


def _scaled(factor: float, tree: Params) -> Params:
    return jax.tree.map(lambda leaf: factor * leaf, tree)
