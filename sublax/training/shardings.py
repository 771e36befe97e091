"""Where a training state and its batches lie on a mesh."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from sublax.models.decoder import SOFT_PROMPT, abstract_params
from sublax.models.lora import init_lora
from sublax.models.shardings import adapter_shardings, param_shardings
from sublax.parallel.layout import Layout
from sublax.training.step import Objective, TrainState, init_state


def student_axis(students: int) -> str | None:
    """The mesh axis that students lie along; one alone lies on all of them."""
    return "data" if students > 1 else None


def abstract_state(
    objective: Objective, optimizer: optax.GradientTransformation, layout: Layout, students: int
) -> TrainState:
    """Shapes, dtypes and shardings of the state of all students, without making any of it.

    Moments lie as what they are moments of: a bare `jit` of the optimizer's `init` would put all
    of them on every device.

    Args:
        objective: what is trained.
        optimizer: its update rule.
        layout: the mesh and its table.
        students: S, a multiple of what the mesh has along their axis.

    Returns:
        A state of `jax.ShapeDtypeStruct`, each with its sharding; leading axis S.
    """
    config, lora, lead = objective.config, objective.lora, (student_axis(students),)
    if objective.soft_prompt:
        shape = (objective.soft_prompt, config.hidden_size)
        own = {SOFT_PROMPT[1]: jax.ShapeDtypeStruct(shape, jnp.float32)}
        shardings = {SOFT_PROMPT[1]: layout.sharding(*lead)}
    elif lora is None:
        own, shardings = abstract_params(config)[0], param_shardings(config, layout, lead)
    else:
        own = jax.eval_shape(functools.partial(init_lora, config, lora), jax.random.key(0))
        shardings = adapter_shardings(config, lora, layout, lead)
    state = jax.eval_shape(functools.partial(init_state, optimizer), own)
    scalar = layout.sharding(*lead)

    def of_moment(moment, sharding, parameter):
        # Adafactor's moments of a matrix are vectors, and small.
        return sharding if moment.shape == parameter.shape else scalar

    moments = optax.tree.map_params(
        optimizer,
        of_moment,
        state.moments,
        shardings,
        own,
        transform_non_params=lambda _: scalar,
    )

    def lay(leaf: Any, sharding: NamedSharding):
        return jax.ShapeDtypeStruct((students, *leaf.shape), leaf.dtype, sharding=sharding)

    return TrainState(
        lay(state.step, scalar),
        jax.tree.map(lay, state.trained, shardings),
        jax.tree.map(lay, state.moments, moments),
    )


def batch_sharding(objective: Objective, layout: Layout, students: int) -> NamedSharding:
    """Of a batch's arrays, [S, microbatches, rows, ...]."""
    rows = objective.rows.spec if objective.rows is not None else (None,)
    return layout.sharding(student_axis(students), None, *rows)
