"""How many students fit into one program: by what the compiler says that it needs."""

import functools
from typing import Any

import jax
import numpy as np

from sublax.models.int8 import is_int8
from sublax.models.lora import LoraConfig
from sublax.models.shardings import param_shardings
from sublax.parallel import memory
from sublax.parallel.arrays import replicated
from sublax.parallel.layout import Layout
from sublax.training.loop import in_program, update_program
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.shardings import abstract_state, batch_sharding, student_axis
from sublax.training.step import Batch, Frozen, Objective, TrainState

# Adapters a device for which nobody asks whether they fit: it costs two compilations.
FEW = 8


def surely_fit(lora: LoraConfig | None, students: int, along: int) -> bool:
    """Whether so many fit into one program without asking the compiler.

    A few adapters do, for they are small beside their base. Of all weights every student has its
    own, with gradients and moments.

    Args:
        lora: the students' adapter, or None where all weights are trained.
        students: how many.
        along: devices that they lie along.
    """
    return lora is not None and students <= FEW * along


def fitting_students(
    objective: Objective,
    optimizer_config: OptimizerConfig,
    steps: int,
    layout: Layout,
    frozen: Frozen,
    batch: Batch,
    wanted: int,
    free_bytes: int | None = None,
) -> int:
    """How many students one program can train at a time.

    Compiles the update for the fewest students that fill the mesh and for twice as many. What an
    update needs grows by the same amount for each, so two measurements say how many fit.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        steps: of the run.
        layout: the mesh.
        frozen: of one student: shapes and dtypes are read.
        batch: of one student, [1, microbatches, ...], as `make_batch` gives it for this mesh when
            several students share it.
        wanted: students in all.
        free_bytes: of each device; None asks the devices.

    Returns:
        From 1 to `wanted`.
    """
    need = functools.partial(
        _update_bytes, objective, optimizer_config, steps, layout, frozen, batch
    )
    along = layout.mesh.shape["data"]
    free = memory.free_bytes(layout.mesh) if free_bytes is None else free_bytes
    return memory.most_that_fit(need, along if along > 1 else 2, wanted, free)


def _update_bytes(objective, optimizer_config, steps, layout, frozen, batch, students) -> float:
    """Bytes that an update of some students needs on each device beside the frozen parameters."""
    lowered, params, _ = lower_update(
        objective, optimizer_config, steps, layout, frozen, batch, students
    )
    return memory.bytes_to_compile(lowered) - memory.shard_bytes(params)


def lower_update(
    objective: Objective,
    optimizer_config: OptimizerConfig,
    steps: int,
    layout: Layout,
    frozen: Frozen,
    batch: Batch,
    students: int,
) -> tuple[jax.stages.Lowered, Any, TrainState]:
    """The update of some students, to be compiled, from shapes alone.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        steps: of the run.
        layout: the mesh.
        frozen: of one student: shapes and dtypes are read.
        batch: of one student, as in `fitting_students`.
        students: S, a multiple of what the mesh has along their axis.

    Returns:
        (the update, the frozen parameters' shapes as they lie on the mesh, the state's).
    """
    optimizer = make_optimizer(optimizer_config, steps)
    objective = in_program(objective, layout, students)
    state = abstract_state(objective, optimizer, layout, students)
    along = layout.sharding(student_axis(students))

    def repeated(leaf, sharding):
        return jax.ShapeDtypeStruct((students, *leaf.shape[1:]), leaf.dtype, sharding=sharding)

    def alike(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    params = frozen.params
    if params is not None:
        shardings = param_shardings(objective.config, layout, int8=is_int8(params))
        params = jax.tree.map(alike, params, shardings)
    columns, kernel = frozen.columns, frozen.teacher_kernel
    abstract = Frozen(
        params,
        None if columns is None else alike(np.asarray(columns), replicated(layout.mesh)),
        None if kernel is None else repeated(kernel, along),
    )
    in_batch = batch_sharding(objective, layout, students)
    batches = jax.tree.map(lambda leaf: repeated(leaf, in_batch), batch)
    program = update_program(objective, optimizer_config, steps, layout, students)
    return program.lower(state, abstract, batches), params, state
