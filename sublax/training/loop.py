"""The training loop of one or many students that share a base: one program, one update a turn."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from sublax.models.int8 import is_int8
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import fetch, place, replicated
from sublax.parallel.layout import Layout, pieces
from sublax.parallel.preemption import Preempted, Preemption
from sublax.training.checkpoints import open_checkpoints, restore_latest, save
from sublax.training.data import Dataset, make_batch, plan_packing
from sublax.training.optimizer import OptimizerConfig, learning_rate, make_optimizer
from sublax.training.packing import Packing
from sublax.training.shardings import abstract_state, batch_sharding, student_axis
from sublax.training.step import Frozen, Objective, init_state, update

# Numbers of the residual stream, float32, that fill the second-level caches of a few cores.
CACHED_NUMBERS = 2**19
# Updates of several processes between two looks at the clock, which they must take together.
STEPS_BY_CLOCK = 8


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long, and how much at a time.

    Attributes:
        steps: updates.
        batch_size: rows an update and student.
        microbatches: pieces that an update is cut into to save memory; divides `batch_size`.
        checkpoint_steps: updates between checkpoints; 0 never.
        checkpoint_minutes: minutes between checkpoints; 0 never.
        probe_steps: updates between calls of `probe`; 0 never.
        pack_rows: whether short rows stand one after another in one line.
        round_steps: updates after which datasets are made anew; 0 never. A checkpoint is then the
            end of such a round, so that a resume makes the very datasets that were next.
    """

    steps: int
    batch_size: int
    microbatches: int = 1
    checkpoint_steps: int = 0
    checkpoint_minutes: float = 2.0
    probe_steps: int = 0
    pack_rows: bool = False
    round_steps: int = 0


def train(
    objective: Objective,
    optimizer_config: OptimizerConfig,
    schedule: Schedule,
    trained: Any,
    frozen: Frozen,
    datasets: Sequence[Dataset] | Callable[[int, Any], Sequence[Dataset]],
    seeds: Sequence[int],
    checkpoints: pathlib.Path,
    layout: Layout,
    preemption: Preemption,
    watch: Callable[[int, dict[str, np.ndarray]], None],
    probe: Callable[[int, Any], None],
) -> Any:
    """Trains S students side by side; goes on from the last checkpoint where there is one.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        schedule: how long.
        trained: initial adapters, soft prompts or parameters, with a leading axis of S. Donated.
        frozen: `params` and `columns` are shared; `teacher_kernel` has a leading axis of S, where
            there is one.
        datasets: one a student, of one padded shape but for the number of rows. With
            `schedule.round_steps` a function that gives those of a round, called before its first
            update with (the round from 0, trained), where `trained` may have more than S.
        seeds: one a student, of the order of its rows.
        checkpoints: directory of this run's checkpoints.
        layout: the mesh, and where the state lies on it. Students lie along `data`; where that
            does not divide them, the last is trained more than once. One alone spreads its rows.
        preemption: says when to stop.
        watch: called for every update with (updates done, metrics), one update late, so that the
            device is never waited for. Metrics are arrays [S] but for the scalars
            `learning_rate` and `tokens_per_second`.
        probe: called with (updates done, trained) every `probe_steps`, to measure as it goes.

    Returns:
        The trained tree, leading axis S.

    Raises:
        Preempted: told to stop; the last update is saved.
        UserError: a checkpoint cannot be written, or those that are there cannot be read.
    """
    optimizer = make_optimizer(optimizer_config, schedule.steps)
    rate = learning_rate(optimizer_config, schedule.steps)
    students = len(seeds)
    along = layout.mesh.shape["data"] if students > 1 else 1
    filled = np.minimum(np.arange(-(-students // along) * along), students - 1)
    objective = in_program(objective, layout, len(filled))
    abstract = abstract_state(objective, optimizer, layout, len(filled))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    in_batch = batch_sharding(objective, layout, len(filled))
    seeds = [seeds[place] for place in filled]
    read: list[Dataset] = []
    if not callable(datasets):
        read = [datasets[place] for place in filled]
    frozen = _placed(frozen, objective.config, filled, layout)
    packing = packing_of(schedule, read, seeds, pieces(objective.rows))
    unit = schedule.round_steps or 1
    with open_checkpoints(checkpoints) as manager, preemption.saving():
        state = restore_latest(manager, abstract)
        if state is None:
            state = _first_state(optimizer, trained, filled, shardings)
        done = int(fetch(state.step)[0])
        # A constant rate does not ask how long: runs of any length are one program.
        length = 0 if optimizer_config.schedule == "constant" else schedule.steps
        advance = update_program(objective, optimizer_config, length, layout, len(filled))
        untold: _Update | None = None
        last = saved = time.perf_counter()  # when the last update ended that was told of
        for step in range(done, schedule.steps):
            if callable(datasets) and step % unit == 0:
                if untold is not None:
                    last, untold = _tell(watch, untold, last, students), None
                of_round = datasets(step // unit, state.trained)
                read = [of_round[place] for place in filled]
            batch = make_batch(
                read,
                seeds,
                step,
                schedule.batch_size,
                schedule.microbatches,
                pieces(objective.rows),
                packing,
            )
            begun = time.perf_counter()
            if untold is not None:
                untold = _done_by(untold, begun)
            state, metrics = advance(state, frozen, place(batch, in_batch))
            # A CPU may compute it while it is handed over.
            ended = time.perf_counter() if metrics["loss"].is_ready() else None
            metrics |= {"learning_rate": float(rate(step))}
            if untold is not None:
                last = _tell(watch, untold, last, students)
            tokens = float((batch.rows.positions >= 0).sum())
            untold = _Update(step + 1, metrics, tokens, begun, ended)
            ends = (step + 1) % unit == 0
            # Several processes agree on a number to stop at, so that all numbers are asked about.
            stops = ends and preemption.reached((step + 1) // unit)
            if stops or (ends and _is_due(schedule, step + 1, time.perf_counter() - saved)):
                # Told first: the update that a resume goes on from is on the curve.
                last, untold = _tell(watch, untold, last, students), None
                save(manager, step + 1, state)
                saved = time.perf_counter()
            if stops:
                manager.wait_until_finished()
                raise Preempted(f"update {step + 1} of {schedule.steps} is saved")
            if schedule.probe_steps and (step + 1) % schedule.probe_steps == 0:
                if untold is not None:  # what follows is not its time
                    last, untold = _tell(watch, untold, last, students), None
                probe(step + 1, state.trained)
        if untold is not None:
            _tell(watch, untold, last, students)
    if len(filled) == students:
        return state.trained
    return jax.tree.map(lambda leaf: leaf[:students], state.trained)


def in_program(objective: Objective, layout: Layout, students: int) -> Objective:
    """The objective of one of several students of a program on a mesh."""
    return dataclasses.replace(objective, rows=rows_of(layout, students))


def rows_of(layout: Layout, students: int) -> NamedSharding | None:
    """How each student's rows are spread; None where one device has all of them."""
    rows = layout.rows(students)
    return rows if pieces(rows) > 1 else None


def packing_of(schedule: Schedule, datasets, seeds, devices: int) -> Packing | None:
    """The shape of packed lines that serves a whole run, None where rows are not packed.

    Args:
        schedule: how many updates, of how many rows, in how many pieces.
        datasets: of all students of the program.
        seeds: theirs.
        devices: that a student's rows are spread over.
    """
    if not schedule.pack_rows:
        return None
    size, microbatches = schedule.batch_size, schedule.microbatches
    return plan_packing(datasets, seeds, schedule.steps, size, microbatches, devices)


def _first_state(optimizer, trained, filled, shardings):
    """The state before the first update, made where it is to lie."""
    if len(filled) != len(jax.tree.leaves(trained)[0]):
        trained = jax.tree.map(lambda leaf: leaf[filled], trained)
    make = jax.vmap(functools.partial(init_state, optimizer))
    start = jax.jit(make, out_shardings=shardings, donate_argnums=0)
    return start(place(trained, shardings.trained))


def _placed(frozen: Frozen, config, filled: np.ndarray, layout: Layout) -> Frozen:
    """What is read and not changed, on the devices that read it."""
    params, columns, kernel = frozen.params, frozen.columns, frozen.teacher_kernel
    if params is not None:
        params = place(params, param_shardings(config, layout, int8=is_int8(params)))
    if columns is not None:
        columns = place(columns, replicated(layout.mesh))
    if kernel is not None:
        kernel = np.asarray(kernel)[filled]
        # Over the whole vocabulary a head is cut as the base's is; some tokens' columns are few.
        cut: tuple = ()
        if columns is None:
            cut = layout.of_logical("the teacher's head", ("embed", "vocab"), kernel.shape[1:], {})
        kernel = place(kernel, layout.sharding(student_axis(len(filled)), *cut))
    return Frozen(params, columns, kernel)


@functools.lru_cache(maxsize=8)
def update_program(
    objective: Objective,
    optimizer_config: OptimizerConfig,
    steps: int,
    layout: Layout,
    students: int,
):
    """The jitted update of all students; one program for all runs of one shape.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        steps: of the whole run, which the schedule needs.
        layout: the mesh, and where the state lies on it.
        students: S.

    Returns:
        A function of (state, frozen, batch) to (state, metrics). All leaves have a leading axis of
        students but for `frozen.params` and `frozen.columns`. The state is donated.
    """
    optimizer = make_optimizer(optimizer_config, steps)
    shardings = jax.tree.map(
        lambda leaf: leaf.sharding, abstract_state(objective, optimizer, layout, students)
    )

    def advance(state, frozen, batch):
        def one(own):
            state, batch, teacher_kernel = own
            used = dataclasses.replace(frozen, teacher_kernel=teacher_kernel)
            return update(objective, optimizer, state, used, batch)

        every = (state, batch, frozen.teacher_kernel)
        at_once = _at_once(objective, layout, batch)
        # A batch of one is no batch: products with weights stay plain, which XLA runs faster. One
        # student is no loop either: what a loop returns is copied into the donated state.
        if students == 1:
            return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(lambda x: x[0], every)))
        if at_once == students:
            return jax.vmap(one, spmd_axis_name=student_axis(students))(every)
        return jax.lax.map(one, every, batch_size=at_once if at_once > 1 else None)

    return jax.jit(advance, donate_argnums=0, out_shardings=(shardings, replicated(layout.mesh)))


def _at_once(objective: Objective, layout: Layout, batch) -> int:
    """How many students compute side by side; the others of a program follow in turn.

    Several devices and accelerators want all of them. A CPU wants as many as it takes to make its
    products large, and no more: what they work on should stay in its caches.
    """
    students, _, *rows = batch.rows.tokens.shape
    if layout.mesh.size > 1 or layout.mesh.devices.flat[0].platform != "cpu":
        return students
    tokens = math.prod(rows) + math.prod(batch.rows.prefix.shape[2:])
    most = max(CACHED_NUMBERS // (tokens * objective.config.hidden_size), 1)
    return max(size for size in range(1, min(most, students) + 1) if students % size == 0)


def _is_due(schedule: Schedule, step: int, seconds: float) -> bool:
    """Whether a checkpoint is to be written after update `step`, `seconds` after the last one."""
    if schedule.checkpoint_steps and step % schedule.checkpoint_steps == 0:
        return True
    if not schedule.checkpoint_minutes:
        return False
    by_minutes = seconds >= 60 * schedule.checkpoint_minutes
    if jax.process_count() == 1:
        return by_minutes
    # All save the same update: by the first one's clock, which is asked only now and then.
    return step % STEPS_BY_CLOCK == 0 and bool(multihost_utils.broadcast_one_to_all(by_minutes))


class _Update(NamedTuple):
    """One that was handed to the device: updates done, metrics, tokens, and its times in seconds.

    It began at `begun` or, where the device had one to finish, when that ended; `ended` is None
    where it was not done when it was handed over.
    """

    done: int
    metrics: dict[str, Any]
    tokens: float
    begun: float
    ended: float | None


def _done_by(update: _Update, now: float) -> _Update:
    """The update with its end, if it is over and none was seen: a CPU is often done unasked."""
    if update.ended is None and update.metrics["loss"].is_ready():
        return update._replace(ended=now)
    return update


def _tell(watch, update: _Update, last: float, students: int) -> float:
    """Hands an update's metrics on, and waits for them.

    Returns:
        When it ended.
    """
    values = {name: np.asarray(value) for name, value in update.metrics.items()}
    values = {name: value[:students] if value.ndim else value for name, value in values.items()}
    ended = time.perf_counter() if update.ended is None else update.ended
    seconds = ended - max(update.begun, last)
    values["tokens_per_second"] = np.asarray(update.tokens / max(seconds, 1e-9))
    watch(update.done, values)
    return ended
