"""Where arrays lie: logical axes to mesh axes by one table, and rows over what is left."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sublax.errors import UserError

LOGICAL_AXES = ("vocab", "embed", "heads", "kv_heads", "mlp")
# Axes that are never cut: layers are scanned, and an adapter's rank is small.
WHOLE = ("layers", "rank")


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh and the table that says which of its axes each logical axis is cut along.

    Attributes:
        mesh: the devices.
        rules: (logical axis, mesh axis, or "" for whole) pairs; an axis left out is whole.
    """

    mesh: Mesh
    rules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        """Refuses a rule that names no axis."""
        for axis, onto in self.rules:
            if axis not in LOGICAL_AXES:
                raise UserError(f"sharding.{axis}: choose from {', '.join(LOGICAL_AXES)}")
            if onto and onto not in self.mesh.axis_names:
                raise UserError(
                    f"sharding.{axis}={onto}: no axis of the mesh; choose from "
                    f'{", ".join(self.mesh.axis_names)}, or "" to keep it whole'
                )

    def sharding(self, *axes: Any) -> NamedSharding:
        """The sharding of an array whose dimensions lie along mesh axes, None for whole."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def of_logical(self, name: str, logical, shape, units: Mapping[str, int]) -> tuple:
        """Mesh axes of one array's dimensions.

        Args:
            name: of the array, for the error.
            logical: its logical axes, None for one that is never cut.
            shape: its sizes.
            units: how many indivisible units a logical axis has where that is not its size: heads.

        Raises:
            UserError: a size that does not divide, with the sizes that would.
        """
        rules, found = dict(self.rules), []
        for axis, size in zip(logical, shape, strict=True):
            onto = rules.get(axis) if axis not in WHOLE else None
            parts = self.mesh.shape[onto] if onto else 1
            count = units.get(axis, size)
            if count % parts:
                raise UserError(
                    f"{name}: its axis {axis} of {count} does not divide over mesh.{onto}={parts}; "
                    f"choose one of {_divisors(count, self.mesh.size)}, or --config.sharding."
                    f'{axis}="" to keep it whole'
                )
            # One mesh axis cuts one dimension: of two that ask for it, the first gets it.
            found.append(onto if parts > 1 and onto not in found else None)
        return tuple(found)

    def rows(self, students: int = 1) -> NamedSharding:
        """How rows are spread: over `data` and `fsdp`; several students take `data`."""
        axes = ("data", "fsdp") if students == 1 else ("fsdp",)
        return self.sharding(axes)


def pieces(sharding: NamedSharding | None) -> int:
    """Into how many pieces a sharding cuts the first axis."""
    if sharding is None or not sharding.spec or sharding.spec[0] is None:
        return 1
    axes = sharding.spec[0]
    names = (axes,) if isinstance(axes, str) else axes
    return math.prod(sharding.mesh.shape[name] for name in names)


def _divisors(count: int, most: int) -> list[int]:
    return [size for size in range(1, min(count, most) + 1) if count % size == 0]
