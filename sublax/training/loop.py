"""The training loop of one or many students that share a base: one program, one update a turn."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sublax.training.checkpoints import open_checkpoints, restore_latest
from sublax.training.data import Dataset, make_batch
from sublax.training.optimizer import OptimizerConfig, learning_rate, make_optimizer
from sublax.training.step import Frozen, Objective, init_state, update

# Numbers of the residual stream, float32, that fill the second-level caches of a few cores.
CACHED_NUMBERS = 2**19


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
    """

    steps: int
    batch_size: int
    microbatches: int = 1
    checkpoint_steps: int = 0
    checkpoint_minutes: float = 2.0
    probe_steps: int = 0


def train(
    objective: Objective,
    optimizer_config: OptimizerConfig,
    schedule: Schedule,
    trained: Any,
    frozen: Frozen,
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    checkpoints: pathlib.Path,
    watch: Callable[[int, dict[str, np.ndarray]], None],
    probe: Callable[[int, Any], None],
) -> Any:
    """Trains S students side by side; goes on from the last checkpoint where there is one.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        schedule: how long.
        trained: initial adapters or parameters, with a leading axis of S. Donated.
        frozen: `params` and `columns` are shared; `teacher_kernel` has a leading axis of S.
        datasets: one a student, of one padded shape but for the number of rows.
        seeds: one a student, of the order of its rows.
        checkpoints: directory of this run's checkpoints.
        watch: called for every update with (updates done, metrics), one update late, so that the
            device is never waited for. Metrics are arrays [S] but for the scalars
            `learning_rate` and `tokens_per_second`.
        probe: called with (updates done, trained) every `probe_steps`, to measure as it goes.

    Returns:
        The trained tree, leading axis S.
    """
    optimizer = make_optimizer(optimizer_config, schedule.steps)
    rate = learning_rate(optimizer_config, schedule.steps)
    state = jax.vmap(functools.partial(init_state, optimizer))(trained)
    # Closed however it ends: a run that is interrupted finishes the checkpoint that it is writing.
    with contextlib.closing(open_checkpoints(checkpoints)) as manager:
        # Bound to its device from the start, as the base and each update's result are: the update
        # is compiled for where its arguments lie, and would be compiled anew for its own result.
        state = jax.device_put(restore_latest(manager, state), jax.devices()[0])
        done = int(np.asarray(state.step)[0])
        advance = update_program(objective, optimizer_config, schedule.steps)
        previous: tuple[int, dict, float] | None = None
        clock = saved = time.perf_counter()
        for step in range(done, schedule.steps):
            batch = make_batch(datasets, seeds, step, schedule.batch_size, schedule.microbatches)
            state, metrics = advance(state, frozen, batch)
            metrics |= {"learning_rate": float(rate(step))}
            if previous is not None:
                clock = _tell(watch, previous, clock)
            previous = (step + 1, metrics, float((batch.rows.positions >= 0).sum()))
            if _is_due(schedule, step + 1, time.perf_counter() - saved):
                manager.save(step + 1, args=ocp.args.StandardSave(state))
                saved = time.perf_counter()
            if schedule.probe_steps and (step + 1) % schedule.probe_steps == 0:
                probe(step + 1, state.trained)
        if previous is not None:
            _tell(watch, previous, clock)
    return state.trained


@functools.lru_cache(maxsize=8)
def update_program(objective: Objective, optimizer_config: OptimizerConfig, steps: int):
    """The jitted update of all students; one program for all runs of one shape.

    Args:
        objective: what is trained, on which loss.
        optimizer_config: the update rule.
        steps: of the whole run, which the schedule needs.

    Returns:
        A function of (state, frozen, batch) to (state, metrics). All leaves have a leading axis of
        students but for `frozen.params` and `frozen.columns`. The state is donated.
    """
    optimizer = make_optimizer(optimizer_config, steps)

    def advance(state, frozen, batch):
        def one(own):
            state, batch, teacher_kernel = own
            used = dataclasses.replace(frozen, teacher_kernel=teacher_kernel)
            return update(objective, optimizer, state, used, batch)

        every = (state, batch, frozen.teacher_kernel)
        at_once = _at_once(objective, batch)
        students = batch.rows.tokens.shape[0]
        # A batch of one is no batch: products with weights stay plain, which XLA runs faster. One
        # student is no loop either: what a loop returns is copied into the donated state.
        if students == 1:
            return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(lambda x: x[0], every)))
        if at_once == students:
            return jax.vmap(one)(every)
        return jax.lax.map(one, every, batch_size=at_once if at_once > 1 else None)

    return jax.jit(advance, donate_argnums=0)


def _at_once(objective: Objective, batch) -> int:
    """How many students compute side by side; the others of a program follow in turn.

    An accelerator wants all of them. A CPU wants as many as it takes to make its products large,
    and no more: what they work on should stay in its caches.
    """
    students, _, *rows = batch.rows.tokens.shape
    if jax.default_backend() != "cpu":
        return students
    tokens = math.prod(rows) + math.prod(batch.rows.prefix.shape[2:])
    most = max(CACHED_NUMBERS // (tokens * objective.config.hidden_size), 1)
    return max(size for size in range(1, min(most, students) + 1) if students % size == 0)


def _is_due(schedule: Schedule, step: int, seconds: float) -> bool:
    """Whether a checkpoint is to be written after update `step`, `seconds` after the last one."""
    by_steps = schedule.checkpoint_steps and step % schedule.checkpoint_steps == 0
    by_minutes = schedule.checkpoint_minutes and seconds >= 60 * schedule.checkpoint_minutes
    return bool(by_steps or by_minutes)


def _tell(watch, previous, clock: float) -> float:
    """Hands the last update's metrics on; waits for them, but not for the update in flight."""
    step, metrics, tokens = previous
    values = {name: np.asarray(value) for name, value in metrics.items()}
    now = time.perf_counter()
    values["tokens_per_second"] = np.asarray(tokens / max(now - clock, 1e-9))
    watch(step, values)
    return now
