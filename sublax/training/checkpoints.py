"""The state of a training run on disk, through Orbax: written beside the loop."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from sublax.errors import UserError


def open_checkpoints(directory: pathlib.Path, keep: int = 2) -> ocp.CheckpointManager:
    """A manager that writes in the background and keeps the last checkpoints.

    When to save is the loop's to say: Orbax's own policy by minutes saves at the first step too,
    which a run shorter than that interval has no use for.

    Args:
        directory: of this run's checkpoints; made if need be.
        keep: how many of the last to keep.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(keep), create=True
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def restore_latest(manager: ocp.CheckpointManager, state: Any) -> Any:
    """The last complete checkpoint's state, or `state` itself where there is none.

    Args:
        manager: from `open_checkpoints`.
        state: the initial state; gives shapes, dtypes and shardings.

    Raises:
        UserError: the checkpoint does not fit `state`.
    """
    step = manager.latest_step()
    if step is None:
        return state
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    try:
        return manager.restore(step, args=ocp.args.StandardRestore(abstract))
    except (ValueError, KeyError, FileNotFoundError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"{manager.directory}/{step}: not a checkpoint of this run ({first}); remove "
            f"{manager.directory} to start this stage anew"
        ) from error
