"""The mesh: all devices of all processes, laid out along named axes."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from sublax.errors import UserError

AXES = ("data", "fsdp", "tensor")


def make_mesh(
    sizes: Mapping[str, int],
    devices: Sequence[jax.Device] | None = None,
    slices: int | None = None,
) -> Mesh:
    """Lays devices out along `data`, `fsdp` and `tensor`.

    What goes between slices of TPUs has a network to cross that is tens of times slower than
    their links, so slices lie along `data`: `fsdp` and `tensor` stay within one.

    Args:
        sizes: of each axis; one may be -1, which takes what is left. An axis left out is 1. A
            process that is alone may leave devices out; then the first ones are taken.
        devices: all of all processes by default.
        slices: that the devices are of, one after another; None asks them.

    Raises:
        UserError: an unknown axis, a size that is not possible, sizes whose product is not the
            number of devices, or `data` that slices do not divide.
    """
    devices = jax.devices() if devices is None else devices
    slices = _count_slices(devices) if slices is None else slices
    if unknown := set(sizes) - set(AXES):
        raise UserError(f"mesh.{sorted(unknown)[0]}: no such axis; choose from {', '.join(AXES)}")
    shape = {axis: int(sizes.get(axis, 1)) for axis in AXES}
    free = [axis for axis, size in shape.items() if size == -1]
    if len(free) > 1 or any(size < 1 for size in shape.values() if size != -1):
        raise UserError(f"mesh: {_said(shape)}; give sizes of 1 or more, and -1 at most once")
    count, taken = len(devices), math.prod(size for size in shape.values() if size != -1)
    fits = count % taken == 0 if free else taken == count or (taken < count and _is_alone())
    if not fits:
        raise UserError(
            f"mesh: {_said(shape)} do not fill {count} devices; the product must be {count}, "
            "and -1 for one axis takes what is left"
        )
    for axis in free:
        shape[axis] = count // taken
    if shape["data"] % slices:
        raise UserError(
            f"mesh: data={shape['data']} does not divide over {slices} slices, and no other axis "
            f"may cross between them; make it a multiple of {slices}"
        )
    used = devices[: math.prod(shape.values())]
    laid_out = _lay_out(tuple(shape.values()), used, slices)
    return Mesh(laid_out, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _lay_out(shape: tuple[int, ...], devices: Sequence[jax.Device], slices: int) -> np.ndarray:
    """Devices in the order that suits their links."""
    if devices[0].platform != "tpu":
        return np.asarray(devices).reshape(shape)
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    data, *rest = shape
    return mesh_utils.create_hybrid_device_mesh(
        (data // slices, *rest), (slices, 1, 1), devices, allow_split_physical_axes=True
    )


def _count_slices(devices: Sequence[jax.Device]) -> int:
    """Slices of TPUs; what jax calls slices of GPUs is their nodes, whose network is no trap."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def single_device_mesh() -> Mesh:
    """A mesh of this process' first device alone."""
    return make_mesh({}, jax.local_devices()[:1])


def _is_alone() -> bool:
    return jax.process_count() == 1


def _said(shape: Mapping[str, int]) -> str:
    return ", ".join(f"{axis}={size}" for axis, size in shape.items())
