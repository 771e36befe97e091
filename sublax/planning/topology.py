"""Devices that are not there: slices by name, and what their makers say of a chip."""

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies

from sublax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """A maker's published figures of one chip.

    Attributes:
        kind: jax's name of the device.
        tflops: dense bfloat16 products, 1e12 a second.
        gigabytes: read from its memory, 1e9 bytes a second.
        memory: of it, GiB.
        links: to its neighbours in the slice, all together and one way, 1e9 bytes a second; None
            where it is not a slice's.
        network: between slices, its share of its host's, 1e9 bytes a second; None where its page
            does not say.
    """

    kind: str
    tflops: float
    gigabytes: float
    memory: float
    links: float | None = None
    network: float | None = None


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a plan is for.

    Attributes:
        devices: all of them, slice after slice.
        chip: of each device; None where its figures are not known.
        slices: that are joined by a network.
    """

    devices: list[Any]
    chip: Chip | None
    slices: int = 1


# From cloud.google.com/tpu/docs (a page for each generation) and nvidia.com/data-center.
CHIPS = {
    "v4": Chip("TPU v4", 275.0, 1228.0, 32.0, 300.0),
    "v5e": Chip("TPU v5 lite", 197.0, 819.0, 16.0, 200.0, 3.125),
    "v5p": Chip("TPU v5", 459.0, 2765.0, 95.0, 600.0),
    "v6e": Chip("TPU v6 lite", 918.0, 1638.0, 32.0, 400.0, 12.5),
    "a100": Chip("NVIDIA A100-SXM4-80GB", 312.0, 2039.0, 80.0),
    "h100": Chip("NVIDIA H100 80GB HBM3", 989.0, 3350.0, 80.0),
    "h200": Chip("NVIDIA H200", 989.0, 4800.0, 141.0),
}
# In the order in which a search for one that is large enough tries them.
FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SLICES = {"v4": DEEP, "v5e": FLAT, "v5p": DEEP, "v6e": FLAT}


GPUS = ("a100", "h100", "h200")
NAME = re.compile(r"(?:(\d+)x)?([a-z]\w*):([\dx]+)")

# Read by libtpu as it starts: not to ask the network what slice it is on, nor complain that it does
# not know, and to let other plans be made beside this one.
LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def machine_of(topology: str) -> Machine:
    """The devices that a name stands for, and their figures where they are known.

    Args:
        topology: `GENERATION:SHAPE`, such as `v5e:4x4`, and of several slices `2xv5e:4x4`; `cpu:N`
            and `2xcpu:N` for virtual devices; `h100:N` on a machine that has them.

    Raises:
        UserError: no such topology, no libtpu, which compiles for TPUs, or no such GPUs.
    """
    named = NAME.fullmatch(topology)
    count, generation, shape = named.groups() if named else (None, "", "")
    slices = 1 if count is None else int(count)
    if generation == "cpu" and shape.isdecimal() and int(shape) and slices:
        return Machine(_virtual(topology, slices * int(shape)), None, slices)
    if generation in GPUS and shape.isdecimal() and int(shape) and slices == 1:
        return Machine(_present(topology, generation, int(shape)), CHIPS[generation])
    if generation not in SLICES or not re.fullmatch(r"\d+(x\d+){1,2}", shape) or not slices:
        raise UserError(
            f"--topology={topology}: give a slice, such as v5e:4x4 or v5p:2x2x2 "
            f"({', '.join(SLICES)}), several, such as 2xv5e:4x4, or cpu:8"
        )
    devices, chip = _of_slices(topology, slices, generation, shape), CHIPS[generation]
    per_chip = len(devices) // slices // math.prod(map(int, shape.split("x")))
    if per_chip > 1:  # each of a chip's cores is a device of its own
        parts = {
            name: value / per_chip
            for name in ("tflops", "gigabytes", "memory", "links", "network")
            if (value := getattr(chip, name)) is not None
        }
        chip = dataclasses.replace(chip, **parts)
    return Machine(devices, chip, slices)


def _of_slices(topology: str, slices: int, generation: str, shape: str) -> list[Any]:
    name, several = f"{generation}:{shape}", {"num_slices": slices} if slices > 1 else {}
    try:
        with _told_libtpu():
            described = topologies.get_topology_desc(platform="tpu", topology_name=name, **several)
    except Exception as error:  # jaxlib's own, of several classes
        told = str(error).splitlines()[0]
        if "not installed" in told:
            raise UserError(
                f"--topology={topology}: libtpu compiles for TPUs and is not installed; "
                "pip install 'sublax[plan]'"
            ) from error
        raise UserError(
            f"--topology={topology}: {told}; a shape that exists is {SLICES[generation][2]}"
        ) from error
    return list(described.devices)


@contextlib.contextmanager
def _told_libtpu() -> Iterator[None]:
    """Sets `LIBTPU` while libtpu starts: elsewhere the same variables speak of a real cluster."""
    missing = LIBTPU.keys() - os.environ.keys()
    os.environ |= {variable: LIBTPU[variable] for variable in missing}
    try:
        yield
    finally:
        for variable in missing:
            del os.environ[variable]


def _virtual(topology: str, count: int) -> list[Any]:
    # Where a backend is up already, it has what it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(f"--topology={topology}: this process has {len(devices)} CPU devices")
    return devices[:count]


def _present(topology: str, generation: str, count: int) -> list[Any]:
    try:
        devices = jax.devices("gpu")
    except RuntimeError:
        devices = []
    kinds = {device.device_kind for device in devices}
    if len(devices) < count or not all(generation.upper() in kind for kind in kinds):
        there = f"{len(devices)} of {', '.join(kinds)}" if devices else "no GPU that jax can use"
        raise UserError(
            f"--topology={topology}: GPUs are compiled for where they are, and here is {there}; "
            "plan on a machine that has them, with pip install 'sublax[cuda]'"
        )
    return devices[:count]


def is_gpu(topology: str) -> bool:
    """Whether a name stands for GPUs."""
    return topology.partition(":")[0] in GPUS


def larger(topology: str) -> list[str]:
    """Slices of the same generation with more chips, as many of them, the smallest first."""
    named = NAME.fullmatch(topology)
    if named is None:
        return []
    count, generation, shape = named.groups()
    chips = math.prod(map(int, shape.split("x")))
    return [
        f"{count}x{generation}:{other}" if count else f"{generation}:{other}"
        for other in SLICES.get(generation, ())
        if math.prod(map(int, other.split("x"))) > chips
    ]
