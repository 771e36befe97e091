"""Theorem 1 as a check on any model: a step of imitation does not raise the teacher's own loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Params = Any
Loss = Callable[[Params], jax.Array]
Imitation = Callable[[Params, Params], jax.Array]

LOSSES = ("kl", "squared")


class OneStep(NamedTuple):
    """What one step of imitation does; float32 scalars.

    Attributes:
        inner: <student's update, teacher's update>.
        quadratic: the same to first order in the teacher's step, student_rate <d, G d> for the
            teacher's update d and the Gauss-Newton matrix G of the imitation at the teacher's
            start: what `inner` is for a small step from a shared start, and never negative.
        cosine: `inner` over the product of both updates' lengths.
        predicted: change of the teacher's own loss to first order in the student's step.
        measured: that change.
        teacher_rate: of gradient descent, which gives the teacher's update its length.
        student_rate: the same of the student's.
    """

    inner: jax.Array
    quadratic: jax.Array
    cosine: jax.Array
    predicted: jax.Array
    measured: jax.Array
    teacher_rate: jax.Array
    student_rate: jax.Array


def one_step(
    own_loss: Loss,
    imitation: Imitation,
    start: Params,
    teacher_length: float | jax.Array,
    student_length: float | jax.Array,
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

    The theorem holds for every rate that is small enough. Here the steps' lengths are given and the
    rates follow: at one rate a student at the shared start, who lacks little, would move so much
    less than another that neither loss could be read beside the other in float32.

    Everything is a gradient, or the derivative of one along d: no Jacobian is formed, so it costs a
    few gradients for a model of any size. Pure; to be jitted, or mapped over starts.

    Args:
        own_loss: of the teacher, a function of parameters.
        imitation: of (student's parameters, teacher's parameters); see `imitation_of`.
        start: a tree of float32 arrays, where the teacher starts.
        teacher_length: of its update, as a vector of all parameters; above 0 and small.
        student_length: the same.
        student_start: the student's, where it is not `start`.
    """
    student = start if student_start is None else student_start
    student_gradient = jax.grad(imitation)
    own_gradient = jax.grad(own_loss)(start)
    teacher_rate = _rate(teacher_length, own_gradient)
    teacher_step = scaled(-teacher_rate, own_gradient)
    taught = student_gradient(student, added(start, teacher_step))
    student_rate = _rate(student_length, taught)
    student_step = scaled(-student_rate, taught)
    # How the gradient of a student that stands at the start moves with the teacher.
    _, moved = jax.jvp(lambda teacher: student_gradient(start, teacher), (start,), (teacher_step,))
    before, gradient = jax.value_and_grad(own_loss)(student)
    update = inner(student_step, teacher_step)
    return OneStep(
        inner=update,
        quadratic=-student_rate * inner(moved, teacher_step),
        cosine=update / (teacher_length * student_length),
        predicted=inner(gradient, student_step),
        measured=own_loss(added(student, student_step)) - before,
        teacher_rate=teacher_rate,
        student_rate=student_rate,
    )


def imitation_of(outputs: Callable[[Params], jax.Array], loss: str = "kl") -> Imitation:
    """An imitation loss over inputs that `outputs` has fixed.

    Args:
        outputs: from parameters to logits [..., L] on any inputs.
        loss: one of `LOSSES`; see `distance`.
    """
    return lambda student, teacher: distance(outputs(student), outputs(teacher), loss)


def distance(student_xL: jax.Array, teacher_xL: jax.Array, loss: str = "kl") -> jax.Array:
    """How far a student's logits are from its teacher's.

    Args:
        student_xL: float32 [..., L].
        teacher_xL: float32, the same shape.
        loss: `kl`, KL(teacher || student) of their softmax in nats, mean over all but L, or
            `squared`, half the squared distance summed over L, mean over the rest.

    Returns:
        float32 scalar.
    """
    if loss == "squared":
        return 0.5 * jnp.mean(jnp.sum((student_xL - teacher_xL) ** 2, axis=-1))
    student_xL, teacher_xL = jax.nn.log_softmax(student_xL), jax.nn.log_softmax(teacher_xL)
    return jnp.mean(jnp.sum(jnp.exp(teacher_xL) * (teacher_xL - student_xL), axis=-1))


def inner(one: Params, other: Params) -> jax.Array:
    """The inner product of two trees, float32."""
    products = jax.tree.map(lambda a, b: jnp.vdot(a, b).astype(jnp.float32), one, other)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def length(tree: Params) -> jax.Array:
    """The length of a tree as one vector, float32."""
    return jnp.sqrt(inner(tree, tree))


def added(one: Params, other: Params) -> Params:
    """The sum of two trees."""
    return jax.tree.map(jnp.add, one, other)


def scaled(factor: jax.Array | float, tree: Params) -> Params:
    """A tree times a number."""
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def _rate(step_length: float | jax.Array, gradient: Params) -> jax.Array:
    """The rate of gradient descent that takes a step of that length."""
    return step_length / jnp.maximum(length(gradient), jnp.finfo(jnp.float32).tiny)
