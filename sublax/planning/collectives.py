"""The operations that devices take part in together, as a compiled program's text names them."""

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np

from sublax.planning.hlo import Computation, Instruction, bytes_of

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
        kind: one of `KINDS`.
        bytes: of its larger side on each device, once.
        times: how often it runs.
        in_loop: whether a loop's body holds it.
        devices: that take part in it together; where slices do, how many of them.
        crosses: whether it leaves a slice.
    """

    kind: str
    bytes: int
    times: float
    in_loop: bool
    devices: int
    crosses: bool = False

    @property
    def received(self) -> float:
        """Bytes that each device must be sent by others, each time, however cleverly it is done."""
        if self.kind == "collective-permute":
            return float(self.bytes)
        # To reduce for all is to reduce each one's part, and to gather the parts.
        phases = 2 if self.kind == "all-reduce" else 1
        return phases * self.bytes * (self.devices - 1) / self.devices


def collectives_of(
    computations: dict[str, Computation],
    computation: Computation,
    op: Instruction,
    devices: int,
    per_slice: int,
) -> list[Collective]:
    """The collectives that an instruction is, or fuses; they run once and in no loop.

    Args:
        computations: of the program, by name.
        computation: that holds the instruction.
        op: the instruction.
        devices: that the program is for; by their numbers, slice after slice.
        per_slice: devices of each slice.

    Raises:
        ValueError: groups of devices in words that are not known here.
    """
    kind = op.opcode.removesuffix("-start")
    if kind in KINDS:
        groups = groups_of(op.rest, devices)
        crosses = any(len({place // per_slice for place in group}) > 1 for group in groups)
        # A started one's type names what it was given, and its result.
        sizes = [bytes_of(op.type, on_chip=True, largest=kind != op.opcode)]
        sizes += [bytes_of(computation[o].type, on_chip=True) for o in op.operands]
        together = max(map(len, groups))
        return [Collective(kind, max(sizes), 1.0, False, together, crosses)]
    if op.opcode == "send" and "megascale" in op.rest:
        # A TPU's program is for one slice, and hands what leaves it to the host.
        named = re.search(r'_xla_megascale_transfer_type="(\w+)"', op.rest)
        kind = named[1].lower().replace("_", "-") if named else ""
        kind = kind if kind in KINDS else "collective-permute"
        size = bytes_of(computation[op.operands[0]].type, on_chip=True)
        return [Collective(kind, size, 1.0, False, _slices(op.rest), True)]
    if op.opcode == "fusion":
        fused = computations[op.called("calls") or ""]
        # One that runs beside products is named where it starts, goes on and is done.
        starts = any('"AsyncCollectiveStart"' in inner.rest for inner in fused.values())
        # To reduce for all, and to take one's own part of it, is one operation on a TPU.
        scatters = (op.called("calls") or "").startswith("all-reduce-scatter")
        return [
            dataclasses.replace(found, kind="reduce-scatter") if scatters else found
            for inner in fused.values()
            if starts or "async_collective_fusion_config" not in inner.rest
            for found in collectives_of(computations, fused, inner, devices, per_slice)
        ]
    return []


def _slices(rest: str) -> int:
    """How many slices take part: `{1,2}x{0:3}` are the first and second."""
    target = re.search(r'_xla_megascale_target="\{([^}]*)\}', rest)
    total = 0
    for part in target[1].split(",") if target else ["1:2"]:
        first, _, last = part.partition(":")
        total += int(last or first) - int(first) + 1
    return total


def groups_of(rest: str, devices: int) -> list[list[int]]:
    """The devices of a collective, by their numbers, group by group."""
    pairs = re.search(r"source_target_pairs=(\{\{.*?\}\})", rest)
    listed = pairs or re.search(r"replica_groups=(\{\{.*?\}\})", rest)
    if listed:
        return json.loads(listed[1].replace("{", "[").replace("}", "]"))
    # Numbers counted up, laid out, turned and cut: [2,4]<=[4,2]T(1,0).
    counted = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
    if counted:
        return _counted(counted[2], counted[3]).reshape(_integers(counted[1])).tolist()
    order = r"(?:, device_ids=\((?:\[([\d,]+)\](?:T\(([\d,]+)\))?|([\d,]+))\))?"
    named = re.search(rf"replica_groups=mesh\[([^\]]*)\]{order} ?\{{([^}}]*)\}}", rest)
    if named:
        numbers: Any = _integers(named[4]) if named[4] else None
        if named[2]:
            numbers = _counted(named[2], named[3]).ravel()
        return _named_groups(named[1], named[5], numbers)
    if "replica_groups={}" in rest or "replica_groups" not in rest:
        return [list(range(devices))]
    raise ValueError(f"groups of devices that are not understood: {rest[:200]}")


def _named_groups(mesh: str, varied: str, numbers: Any) -> list[list[int]]:
    """Groups along axes: `'a'=2,'b'=4` and `'b'`, or `'b':(1)2` for the first half of `b`."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    together = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", varied)
    # Every axis in three: what stands before its varied part, that part, and what follows.
    parts = {name: (size, 1, 1) for name, size in sizes.items()}
    for name, before, size in together:
        first, inner = (int(before), int(size)) if size else (1, sizes[name])
        parts[name] = (first, inner, sizes[name] // (first * inner))
    shape = [part for name in sizes for part in parts[name]]
    inner_axes = [3 * list(sizes).index(name) + 1 for name, *_ in together]
    outer_axes = [axis for axis in range(len(shape)) if axis not in inner_axes]
    count = math.prod(shape[axis] for axis in inner_axes)
    laid_out = np.arange(math.prod(shape)) if numbers is None else np.asarray(numbers)
    turned = laid_out.reshape(shape).transpose(outer_axes + inner_axes)
    return turned.reshape(-1, count).tolist()


def _counted(shape: str, order: str | None) -> np.ndarray:
    """Numbers from 0 in a shape, its axes turned."""
    sizes = _integers(shape)
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers if order is None else numbers.transpose(_integers(order))


def _integers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
