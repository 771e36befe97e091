"""What a compiled program does, counted from its text: every loop's body as often as it runs.

XLA's own analysis counts a loop's body once, so a scan over 28 layers shows a 28th of the work.
"""

import dataclasses
import json
import math
import re

import numpy as np

from sublax.planning.collectives import Collective, collectives_of
from sublax.planning.hlo import (
    Computation,
    Instruction,
    bytes_of,
    dims,
    names_in,
    numbers,
    partitions,
    read,
    trips,
)

# What moves no bytes of the device's memory, or only names what others have moved.
SILENT = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "opt-barrier", "recv"),
}

# What reads no more of its first operand than it gives: a token's vector, not the whole table.
TAKES = {"dynamic-slice", "gather"}


@dataclasses.dataclass
class Counts:
    """What a program does on each device.

    Attributes:
        flops: of matrix products; a multiply and an add are two.
        bytes: that its instructions read from the device's memory and write there.
        collectives: the operations that devices take part in together.
    """

    flops: float = 0.0
    bytes: float = 0.0
    collectives: list[Collective] = dataclasses.field(default_factory=list)

    def of_kind(self, crossing: bool | None = None) -> dict[str, dict[str, float]]:
        """How often each kind of collective runs, and the bytes of all of its runs.

        Args:
            crossing: only those that leave a slice, or only those that do not; None is all.
        """
        found: dict[str, dict[str, float]] = {}
        for one in self.collectives:
            if crossing is None or one.crosses == crossing:
                of_kind = found.setdefault(one.kind, {"times": 0.0, "bytes": 0.0})
                of_kind["times"] += one.times
                of_kind["bytes"] += one.times * one.bytes
        return found


@dataclasses.dataclass(frozen=True)
class _Program:
    computations: dict[str, Computation]
    unknown_trips: float
    devices: int
    per_slice: int


def count(text: str, unknown_trips: float, per_slice: int | None = None) -> Counts:
    """Counts what an optimized program does.

    Args:
        text: `jax.stages.Compiled.as_text()`.
        unknown_trips: how often a loop runs whose end the text does not say.
        per_slice: devices of each slice, one slice after another; None is one slice of all.
    """
    computations, entry = read(text)
    devices = partitions(text)
    counts = Counts()
    program = _Program(computations, unknown_trips, devices, per_slice or devices)
    _walk(program, entry, 1.0, False, counts)
    return counts


def _walk(program: _Program, name: str, times: float, in_loop: bool, counts: Counts) -> None:
    """Adds what one computation does, so many times."""
    computations, computation = program.computations, program.computations[name]
    for op in computation.values():
        if op.opcode == "while":
            known = trips(computations, computation, op)
            each = program.unknown_trips if known is None else known
            _walk(program, op.called("body") or "", times * each, True, counts)
        elif op.opcode in ("call", "async-start"):
            called = op.called("to_apply") or op.called("calls") or op.called("called_computation")
            if called:
                _walk(program, called, times, in_loop, counts)
        elif op.opcode == "conditional":
            # One of its branches runs: the largest is counted.
            branches = re.search(r"branch_computations=\{([^}]*)\}", op.rest)
            names = names_in(branches[1]) if branches else []
            names += [n for key in ("true", "false") if (n := op.called(f"{key}_computation"))]
            of_each = [Counts() for _ in names]
            for branch, own in zip(names, of_each, strict=True):
                _walk(program, branch, times, in_loop, own)
            if of_each:
                most = max(of_each, key=lambda branch: (branch.flops, branch.bytes))
                counts.flops, counts.bytes = counts.flops + most.flops, counts.bytes + most.bytes
                counts.collectives += most.collectives
        else:
            counts.flops += times * _flops(computations, computation, op)
            counts.bytes += times * _moved(computations, computation, op)
            counts.collectives += [
                dataclasses.replace(one, times=times, in_loop=in_loop)
                for one in collectives_of(
                    computations, computation, op, program.devices, program.per_slice
                )
            ]


def _flops(computations, computation: Computation, op: Instruction) -> float:
    """Of the matrix products in an instruction, and in what it fuses."""
    if op.opcode == "fusion":
        fused = computations[op.called("calls")]
        return sum(_flops(computations, fused, inner) for inner in fused.values())
    if op.opcode == "dot":
        contracted = numbers(op.rest, "lhs_contracting_dims")
        left = dims(computation[op.operands[0]].type)
        return 2.0 * math.prod(dims(op.type)) * math.prod(left[axis] for axis in contracted)
    if op.opcode == "convolution":
        return _convolution_flops(computation, op)
    if op.opcode == "custom-call":
        # A kernel's own estimate, as its author gave it.
        estimate = re.search(r'"cost_estimate":(\{[^}]*\})', op.rest)
        return float(json.loads(estimate[1]).get("flops", 0)) if estimate else 0.0
    return 0.0


def _convolution_flops(computation: Computation, op: Instruction) -> float:
    """A product as TPUs have it; positions that fall on padding or between elements are no work."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", op.rest)
    if labels is None:
        return 0.0
    left, right, out = (
        dict(zip(labels[place], dims(shape), strict=True))
        for place, shape in (
            (1, computation[op.operands[0]].type),
            (2, computation[op.operands[1]].type),
            (3, op.type),
        )
    )
    window = re.search(r"window=\{([^}]*)\}", op.rest)
    given = dict(part.split("=") for part in window[1].split()) if window else {}
    axes = sorted(axis for axis in out if axis.isdigit())

    def of_axis(key: str, axis: int, default: str) -> str:
        return given[key].split("x")[axis] if key in given else default

    spatial = 1.0
    for place, axis in enumerate(axes):
        stride, low = (
            int(of_axis("stride", place, "1")),
            int(of_axis("pad", place, "0_0").split("_")[0]),
        )
        left_dilation = int(of_axis("lhs_dilate", place, "1"))
        right_dilation = int(of_axis("rhs_dilate", place, "1"))
        at = (
            np.arange(out[axis])[:, None] * stride
            + np.arange(right[axis])[None] * right_dilation
            - low
        )
        inside = (at >= 0) & (at <= (left[axis] - 1) * left_dilation) & (at % left_dilation == 0)
        spatial *= float(inside.sum())
    groups = re.search(r"batch_group_count=(\d+)", op.rest)
    batch = out["b"] if groups is None else left["b"] / int(groups[1])
    return 2.0 * spatial * right["i"] * out["f"] * batch


def _moved(computations, computation: Computation, op: Instruction) -> float:
    """Bytes that an instruction reads from and writes to the device's main memory."""
    if op.opcode in SILENT or op.opcode.endswith("-done"):
        return 0.0
    read: list[float] = [
        bytes_of(computation[name].type) for name in op.operands if name in computation
    ]
    written = float(bytes_of(op.type))
    if op.opcode.endswith("-start"):
        return 2.0 * sum(read)  # its result is named once more by what ends it
    if op.opcode == "send":
        return 2.0 * sum(read)  # as much comes back
    if op.opcode in TAKES:
        return 2.0 * written
    if op.opcode == "dynamic-update-slice":
        return 2.0 * read[1]
    if op.opcode == "fusion":
        fused = computations[op.called("calls")]
        if any('"AsyncCollectiveStart"' in inner.rest for inner in fused.values()):
            return sum(read) + bytes_of(op.type, largest=True)  # all of it, though done later
        for place in range(len(read)):
            read[place] = min(read[place], _read_inside(computations, fused, place))
        written = min(written, _written_inside(fused, written))
    return float(sum(read) + written)


def _read_inside(computations, fused: Computation, place: int) -> float:
    """Bytes that a fusion reads of its parameter: slices, where it only takes slices of it."""
    read, is_result = _reads(computations, fused, place)
    return math.inf if is_result else read


def _reads(computations, fused: Computation, place: int) -> tuple[float, bool]:
    """Bytes that a fusion reads of its parameter, and whether its result is the parameter, shaped.

    Inside another fusion such a result is no copy, and read by what uses it.
    """
    waiting = [op for op in fused.values() if _is_parameter(op, place)]
    total, is_result = 0.0, False
    while waiting:
        value = waiting.pop()
        is_result |= value.is_root
        for op in fused.values():
            if value.name not in op.operands or op.opcode == "tuple" or _goes_on(op):
                continue  # it is handed on as it is
            if op.opcode == "bitcast":
                waiting.append(op)
            elif op.opcode in TAKES and op.operands[0] == value.name:
                total += bytes_of(op.type)
            elif op.opcode == "fusion":
                inner = computations[op.called("calls")]
                read, passes = _reads(computations, inner, op.operands.index(value.name))
                total += read
                waiting += [op] if passes else []
            elif op.opcode != "dynamic-update-slice" or op.operands[0] != value.name:
                return math.inf, False  # else it is updated where it lies
    return total, is_result


def _written_inside(fused: Computation, whole: float) -> float:
    """Bytes that a fusion writes: of arrays that it updates in place, the new part."""
    root = next(op for op in fused.values() if op.is_root)
    results = [fused[name] for name in root.operands] if root.opcode == "tuple" else [root]
    total = 0.0
    for result in results:
        while result.opcode == "bitcast":
            result = fused[result.operands[0]]
        if result.opcode == "dynamic-update-slice":
            result = fused[result.operands[1]]
        if result.opcode != "parameter" and not _goes_on(result):
            total += bytes_of(result.type)
    # Inside a fusion no type says which memory it lies in.
    return min(total, whole)


def _goes_on(op: Instruction) -> bool:
    """Whether it is part of a collective that has been counted where it starts."""
    return "async_collective_fusion_config" in op.rest or '"AsyncCollective' in op.rest


def _is_parameter(op: Instruction, place: int) -> bool:
    found = re.match(r"\d+", op.rest)
    return op.opcode == "parameter" and found is not None and int(found[0]) == place
