"""How many of something fit into a device's memory, by what the compiler says that they need."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import Mesh

# Of the free memory; the rest is for what else comes and goes, and for fragments.
USED_SHARE = 0.85


def most_that_fit(
    needed_bytes: Callable[[int], float], fewest: int, wanted: int, free_bytes: int
) -> int:
    """How many fit, where each needs the same: two measurements say how much.

    Args:
        needed_bytes: of so many, on each device; a compilation. Infinite where it gives up.
        fewest: how many fill the mesh; the answer is a multiple of it, or 1 where they do not fit.
        wanted: how many there are; the answer is no more.
        free_bytes: on each device.
    """
    if wanted <= fewest:
        return wanted
    first = needed_bytes(fewest)
    if first > free_bytes * USED_SHARE:
        return 1
    each = max((needed_bytes(2 * fewest) - first) / fewest, 1.0)
    more = int((free_bytes * USED_SHARE - first) // each)
    return min((fewest + more) // fewest * fewest, wanted)


def bytes_to_compile(lowered: jax.stages.Lowered) -> float:
    """As `program_bytes`, of a program not compiled yet; infinite where no device could hold it.

    TPUs' compiler plans the memory and gives up; others find out when the program runs.
    """
    try:
        return program_bytes(lowered.compile())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return math.inf


def program_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes that a program needs on each device while it runs, its arguments among them."""
    analysis: Any = compiled.memory_analysis()
    return (
        analysis.argument_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def shard_bytes(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes with shardings, on each device."""
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def free_bytes(mesh: Mesh) -> int:
    """On the fullest device; virtual devices of a CPU share its memory. A collective call."""
    devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    stats = [device.memory_stats() for device in devices]
    if all(stats):
        free = min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
    else:
        free = psutil.virtual_memory().available // len(devices)
    if jax.process_count() == 1:
        return free
    # All must choose alike. In MiB, which 32 bits hold.
    return int(multihost_utils.process_allgather(np.int32(free >> 20)).min()) << 20
