"""One step, and many, of teacher and student from every start, for the seeds of a subject."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sublax.evaluation.theorem import (
    OneStep,
    added,
    distance,
    imitation_of,
    inner,
    length,
    one_step,
    scaled,
)
from sublax.theorem.subjects import OTHER, SHARED, Drawn, Params, Subject

BOTH = (SHARED, OTHER)
OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}


class ManySteps(NamedTuple):
    """What as many steps of imitation as the teacher took do; float32 scalars.

    Attributes:
        cosine: of the student's whole update with the teacher's.
        predicted: change of the teacher's own loss to first order in the student's update.
        measured: that change.
        teacher: what the teacher's own steps changed of it.
    """

    cosine: jax.Array
    predicted: jax.Array
    measured: jax.Array
    teacher: jax.Array


def one_steps(subject: Subject, loss: str, seeds: range) -> dict[str, OneStep]:
    """One step of a teacher and one of a student from each of the subject's starts.

    Args:
        subject: the model.
        loss: of the imitation, one of `evaluation.theorem.LOSSES`.
        seeds: N of them.

    Returns:
        For each start `OneStep` of float32 arrays [N].
    """

    def one(base: Params, drawn: Drawn) -> OneStep:
        start = subject.start(base, drawn.start)
        step = subject.length * length(start)
        own_loss = functools.partial(_swapped, subject.own_loss, drawn.own)
        imitation = imitation_of(functools.partial(_swapped, subject.outputs, drawn.inputs), loss)

        def imitated(begin: Params) -> OneStep:
            return one_step(own_loss, imitation, start, step, step, begin)

        return _of_each_start(subject.starts, imitated, subject, start, drawn)

    return _by_start(subject.starts, _of_each(subject, one, seeds))


def many_steps(
    subject: Subject, loss: str, optimizer: str, rate: float, counts: Sequence[int], seeds: range
) -> dict[str, ManySteps]:
    """Many steps of a teacher, then as many of a student, from the shared and from another start.

    Every step of a teacher is on all of its own data, every step of a student on all of its inputs.

    Args:
        subject: the model; starts have to be drawn, for there is no other of a given base.
        loss: of the imitation, one of `evaluation.theorem.LOSSES`.
        optimizer: one of `OPTIMIZERS`, of teacher and student.
        rate: its learning rate.
        counts: of steps, C of them, increasing.
        seeds: N of them.

    Returns:
        For each of the two starts `ManySteps` of float32 arrays [N, C].
    """
    update = OPTIMIZERS[optimizer](rate)
    gaps_C = jnp.diff(jnp.asarray(counts), prepend=0)

    def steps(objective: Any, count: jax.Array, state: Any) -> Any:
        def step(_: Any, state: Any) -> Any:
            params, moments = state
            changes, moments = update.update(jax.grad(objective)(params), moments, params)
            return optax.apply_updates(params, changes), moments

        return jax.lax.fori_loop(0, count, step, state)

    def one(_: Params, drawn: Drawn) -> ManySteps:
        own_loss = functools.partial(_swapped, subject.own_loss, drawn.own)
        outputs = functools.partial(_swapped, subject.outputs, drawn.inputs)
        start = subject.start(None, drawn.start)

        def on(state: Any, gap: jax.Array) -> Any:
            state = steps(own_loss, gap, state)
            return state, state[0]

        _, teachers = jax.lax.scan(on, (start, update.init(start)), gaps_C)

        def course(count_and_teacher: Any) -> ManySteps:
            count, teacher = count_and_teacher
            taught = outputs(teacher)
            taught_update = _difference(teacher, start)

            def imitated(begin: Params) -> ManySteps:
                def objective(params: Params) -> jax.Array:
                    return distance(outputs(params), taught, loss)

                student, _ = steps(objective, count, (begin, update.init(begin)))
                change = _difference(student, begin)
                before, gradient = jax.value_and_grad(own_loss)(begin)
                lengths = length(change) * length(taught_update)
                return ManySteps(
                    cosine=inner(change, taught_update) / jnp.maximum(lengths, 1e-30),
                    predicted=inner(gradient, change),
                    measured=own_loss(student) - before,
                    teacher=own_loss(teacher) - own_loss(start),
                )

            return _of_each_start(BOTH, imitated, subject, start, drawn)

        return jax.lax.map(course, (jnp.asarray(counts), teachers))

    found = _of_each(subject, one, seeds)  # [N, C, starts]
    return _by_start(BOTH, jax.tree.map(lambda values: values.swapaxes(1, 2), found))


def _of_each_start(
    names: Sequence[str], imitated: Any, subject: Subject, start: Params, drawn: Drawn
) -> Any:
    """What a student does from each of those starts, one after another, by one compiled body."""
    begins = [subject.student_start(name, start, drawn) for name in names]
    return jax.lax.map(imitated, jax.tree.map(lambda *leaves: jnp.stack(leaves), *begins))


def _by_start(names: Sequence[str], found: Any) -> dict[str, Any]:
    """Arrays [N, starts, ...] as a dictionary of arrays [N, ...]."""
    return {
        name: jax.tree.map(lambda values, place=place: values[:, place], found)
        for place, name in enumerate(names)
    }


def _of_each(subject: Subject, one: Any, seeds: range) -> Any:
    """`one` of every seed in one program, as numpy arrays."""

    @jax.jit
    def all_seeds(base: Params, drawn: Drawn) -> Any:
        return jax.lax.map(
            functools.partial(one, base), drawn, batch_size=min(subject.together, len(seeds))
        )

    return jax.tree.map(np.asarray, all_seeds(subject.base, subject.draw(seeds)))


def _difference(one: Params, other: Params) -> Params:
    return added(one, scaled(-1.0, other))


def _swapped(function: Any, data: Any, params: Params) -> jax.Array:
    return function(params, data)
