"""The state of a training run on disk, through Orbax: written beside the loop."""

import contextlib
import json
import logging
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from sublax.errors import UserError
from sublax.files import disk_errors
from sublax.parallel.arrays import fetch, replicated
from sublax.parallel.hosts import exchange, is_first


@contextlib.contextmanager
def open_checkpoints(directory: pathlib.Path, keep: int = 2) -> Iterator[ocp.CheckpointManager]:
    """A manager that writes in the background and keeps the last checkpoints.

    Closed however its use ends: a run that is interrupted finishes what it is writing.

    When to save is the loop's to say: Orbax's own policy by minutes saves at the first step too,
    which a run shorter than that interval has no use for.

    Args:
        directory: of this run's checkpoints, local or in an object store; made if need be.
        keep: how many of the last to keep.

    Raises:
        UserError: the disk is full or read-only; it may be told only at the next save, or at the
            end. The checkpoints before stand.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(keep), create=True
    )
    with _without_tracebacks(), disk_errors(directory):
        manager = ocp.CheckpointManager(epath.Path(directory).absolute(), options=options)
        with contextlib.closing(manager):
            yield manager


def save(manager: ocp.CheckpointManager, step: int, state: Any) -> None:
    """Begins to write a state, with what tells whether its numbers are still the same."""
    content = {"state": state, "checksums": _checksums(state)}
    manager.save(step, args=ocp.args.StandardSave(content))


def restore_latest(manager: ocp.CheckpointManager, abstract: Any) -> Any:
    """The last complete checkpoint's state, or None where there is none.

    One that cannot be read, or whose numbers have changed, as after a disk's fault, is told of and
    removed, and the one before it is taken; by all processes, whichever of them sees the fault.

    Args:
        manager: from `open_checkpoints`.
        abstract: tree of `jax.ShapeDtypeStruct` with the shardings that the state is to have,
            whatever mesh it was saved on.

    Raises:
        UserError: no checkpoint can be read, or they do not fit `abstract`.
    """
    # A store may not show all of them the same at once.
    steps = json.loads(exchange(json.dumps(sorted(manager.all_steps(), reverse=True)))[0])
    failed: list[tuple[int, str]] = []
    for step in steps:
        state, problem = _restore(manager, step, abstract)
        if problem:
            failed.append((step, problem))
            continue
        for damaged, why in failed:
            if is_first():
                print(
                    f"{manager.directory}/{damaged}: damaged ({why}); going on from update {step}",
                    file=sys.stderr,
                )
            manager.delete(damaged)
        return state
    if not failed:
        return None
    step, why = failed[0]
    raise UserError(
        f"{manager.directory}/{step}: not a checkpoint of this run ({why}); remove "
        f"{manager.directory} to start this stage anew"
    )


def _restore(manager: ocp.CheckpointManager, step: int, abstract: Any) -> tuple[Any, str]:
    """(a checkpoint's state, what is wrong with it); the same of both in every process."""
    mesh = jax.tree.leaves(abstract)[0].sharding.mesh
    sums = jax.eval_shape(_checksums, abstract)
    wanted = {
        "state": abstract,
        "checksums": jax.ShapeDtypeStruct(sums.shape, sums.dtype, sharding=replicated(mesh)),
    }
    # Not by the manager, which would have the others wait for a process that cannot read its part.
    folder = manager.directory / str(step) / "default"
    content, problem = None, ""
    try:
        handler = ocp.StandardCheckpointHandler()
        content = handler.restore(folder, args=ocp.args.StandardRestore(wanted))
    except Exception as error:  # whatever it is, the others are to hear of it
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    if problem := next(filter(None, exchange(problem)), ""):
        return None, problem
    assert content is not None
    if not np.array_equal(fetch(_checksums(content["state"])), fetch(content["checksums"])):
        return None, "some numbers are not those that were saved"
    return content["state"], ""


@jax.jit
def _checksums(tree: Any) -> jax.Array:
    """uint32 [leaves], one for each array, that any one changed element changes.

    What Orbax writes carries checksums of its indices but not of its numbers. Sums modulo 2**32 are
    the same in any order, so on any mesh; and an odd factor of its place makes each element count.
    """

    def one(leaf):
        bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}")
        place, stride = jnp.zeros(leaf.shape, jnp.uint32), 1
        for axis in reversed(range(leaf.ndim)):
            place += jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis) * np.uint32(stride)
            stride = stride * leaf.shape[axis] % 2**32
        return jnp.sum(bits.astype(jnp.uint32) * (2 * place + 1), dtype=jnp.uint32)

    return jnp.stack([one(leaf) for leaf in jax.tree.leaves(tree)])


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Keeps Orbax's threads from telling what is raised to its caller as well.

    Each of them logs it; and what was being written beside it ends in threads of tensorstore, which
    find that nobody waits for it any more.
    """
    log, tell = logging.getLogger("absl"), sys.unraisablehook

    def has_no_traceback(record: logging.LogRecord) -> bool:
        return not record.exc_info

    def tell_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            tell(unraisable)

    log.addFilter(has_no_traceback)
    sys.unraisablehook = tell_others
    try:
        yield
    finally:
        log.removeFilter(has_no_traceback)
        sys.unraisablehook = tell
