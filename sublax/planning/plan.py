"""A run's programs compiled for a slice: what each needs of a chip, and for how long at least."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

from sublax.parallel.layout import Layout
from sublax.planning.compiled import compiled
from sublax.planning.counts import Counts, count
from sublax.planning.program import Program
from sublax.planning.topology import Chip, Machine
from sublax.progress import duration

GIB = 2**30


def measure(
    program: Program, layout: Layout, machine: Machine, keep: pathlib.Path | None = None
) -> dict[str, Any]:
    """Compiles a program and says what it needs, per device unless it says otherwise.

    The bound is the roofline's: the longest of products over their rate, bytes over the memory's,
    and collectives over the links' and the network's. A run takes longer.

    Args:
        program: of a run.
        layout: the mesh it is for.
        machine: of the mesh's devices.
        keep: a folder for what the compiler said; see `compiled`.

    Returns:
        Plain values: `memory` in bytes, with `total`; `flops`, and `flops_of_the_model` with their
        ratio; `bytes` moved; `collectives` by kind, and `between_slices` those that leave one;
        `gathered_outside_loops` in bytes; `seconds` at least for each of what may bound it, the
        longest as `bound_seconds` with `bound_by`, None where the chip is not known; `fits`. Of a
        program that is too large for the compiler, what could not be counted is None.

    Raises:
        UserError: a compiler that does not go with this jax.
    """
    chip = machine.chip
    started = time.monotonic()
    found = compiled(program.lower(), machine.devices, keep)
    measured: dict[str, Any] = {
        "program": program.name,
        "about": program.about,
        "runs": program.runs,
        "flops_of_the_model": program.flops / layout.mesh.size,
        "compile_seconds": time.monotonic() - started,
    }
    # What the compiler says as it gives up leaves the arguments out.
    total = sum(program.parts.values()) + found.scratch if found.total is None else found.total
    measured["memory"] = {**program.parts, "scratch": found.scratch, "total": total}
    if found.text is None:
        uncounted = ("flops", "flops_ratio", "bytes", "gathered_outside_loops")
        nothing = {"collectives": {}, "between_slices": {}, "seconds": {}, "fits": False}
        bound = dict.fromkeys(("bound_seconds", "bound_by"))
        return measured | dict.fromkeys(uncounted) | nothing | bound
    counts = count(found.text, program.loop_trips, layout.mesh.size // machine.slices)
    gathered = [
        one.bytes for one in counts.collectives if one.kind == "all-gather" and not one.in_loop
    ]
    seconds = _bounds(counts, chip)
    slowest = max(seconds, key=lambda name: seconds[name]) if seconds else None
    return measured | {
        "fits": None if chip is None else total <= chip.memory * GIB,
        "flops": counts.flops,
        "flops_ratio": counts.flops / measured["flops_of_the_model"],
        "bytes": counts.bytes,
        "collectives": counts.of_kind(),
        "between_slices": counts.of_kind(crossing=True),
        "gathered_outside_loops": sum(gathered),
        "seconds": seconds,
        "bound_seconds": slowest and seconds[slowest],
        "bound_by": slowest,
    }


def _bounds(counts: Counts, chip: Chip | None) -> dict[str, float]:
    if chip is None:
        return {}
    found = {"products": counts.flops / chip.tflops / 1e12}
    found["memory"] = counts.bytes / chip.gigabytes / 1e9
    for name, crossing in (("links", False), ("network", True)):
        rate = getattr(chip, name)
        received = sum(
            one.times * one.received for one in counts.collectives if one.crosses == crossing
        )
        if rate and received:
            found[name] = received / rate / 1e9
    return found


def make_plan(
    programs: list[Program],
    layout: Layout,
    machine: Machine,
    topology: str,
    tell: Callable[[str], None],
    keep: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Measures all programs of a run.

    Args:
        programs: of the run.
        layout: the mesh.
        machine: of its devices.
        topology: the slice's name.
        tell: called with a line before each compilation.
        keep: a folder for what the compiler said; see `compiled`.
    """
    found: list[dict[str, Any]] = []
    chip = machine.chip
    for place, program in enumerate(programs, 1):
        left = ""
        if found:
            each = sum(one["compile_seconds"] for one in found) / len(found)
            left = f", about {duration(each * (len(programs) - place + 1))} left"
        tell(f"compiling {program.name} ({place} of {len(programs)}{left})")
        found.append(measure(program, layout, machine, keep))
    seconds = None
    if chip is not None and all(one["bound_seconds"] is not None for one in found):
        seconds = sum(one["bound_seconds"] * one["runs"] for one in found)
    return {
        "topology": topology,
        "chip": chip and dataclasses.asdict(chip),
        "mesh": dict(layout.mesh.shape),
        "slices": machine.slices,
        "programs": found,
        "bound_seconds": seconds,
        "bound_chip_hours": seconds and seconds * layout.mesh.size / 3600,
        "fits": None if chip is None else all(one["fits"] for one in found),
    }


def table(plan: dict[str, Any]) -> str:
    """A plan as a Markdown table, and the totals in a sentence."""
    head = (
        "| program | weights | trained | optimizer | cache | scratch | all, GiB | TFLOPs a chip "
        "| of the model's | GB moved | collectives | bound | runs |"
    )
    rows = [head, "|" + "---|" * 13, *map(_row, plan["programs"])]
    chip, mesh = plan["chip"], ", ".join(f"{k} {v}" for k, v in plan["mesh"].items())
    devices = math.prod(plan["mesh"].values())
    first = f"{plan['topology']}: {devices} devices, mesh {mesh}"
    if plan["slices"] > 1:
        first += f" over {plan['slices']} slices"
    if chip is None:
        return "\n".join([first, "", *rows])
    first += (
        f"; a {chip['kind']} has {chip['memory']:.0f} GiB, {chip['tflops']:.0f} TFLOP/s and "
        f"{chip['gigabytes']:.0f} GB/s"
    )
    if plan["bound_seconds"] is None:
        return "\n".join([first, "", *rows])
    total = (
        f"At least {duration(plan['bound_seconds'])} and {plan['bound_chip_hours']:.2f} chip-hours "
        "for the whole run: the bound by the chip's published rates, not a forecast."
    )
    return "\n".join([first, "", *rows, "", total])


def misfits(plan: dict[str, Any]) -> list[str]:
    """What does not fit, a line each, with what to change."""
    chip, found = plan["chip"], []
    for one in plan["programs"]:
        if one["fits"] is False:
            parts = {k: v for k, v in one["memory"].items() if k != "total"}
            most = max(parts, key=lambda name: parts[name])
            share = "most of it"
            # Weights that leave no room for anything else come first, whatever is larger.
            if parts.get("weights", 0) > 0.8 * chip["memory"] * GIB:
                most, share = "weights", "much of it"
            advice = WITHOUT_BACKWARD.get(one["program"], {}).get(most) or ADVICE[most]
            found.append(
                f"{one['program']}: {one['memory']['total'] / GIB:.1f} GiB of "
                f"{chip['memory']:.0f} GiB, {share} {most}; {advice}"
            )
    return found


ADVICE = {
    "weights": "cut them by a larger mesh.fsdp or mesh.tensor, or set base_weights=int8",
    "trained": "cut it by a larger mesh.fsdp, or take fewer students_per_program",
    "optimizer": "cut it by a larger mesh.fsdp, or take fewer students_per_program",
    "cache": "set a smaller corpus.batch_rows",
    "scratch": "set remat=full, more microbatches, or fewer students_per_program",
}


# These keep nothing for a backward pass.
WITHOUT_BACKWARD = {
    "corpus": {"scratch": "set a smaller corpus.batch_rows, or take a larger slice"},
    "answers": {"scratch": "take a larger slice", "cache": "take a larger slice"},
    "score": {"scratch": "take a larger slice"},
}


def _row(one: dict[str, Any]) -> str:
    parts = one["memory"]
    sizes = [
        f"{parts[name] / GIB:.2f}" if parts.get(name) else "-"
        for name in ("weights", "trained", "optimizer", "cache", "scratch", "total")
    ]
    if one["fits"] is False:
        sizes[-1] += " (too much)"
    moved = _moved(one["collectives"])
    if one["between_slices"]:
        moved += f"; of these between slices: {_moved(one['between_slices'])}"
    bound = "-"
    if one["bound_seconds"] is not None:
        bound = f"{1000 * one['bound_seconds']:.1f} ms ({one['bound_by']})"
    cells = [
        f"{one['program']}, {one['about']}",
        *sizes,
        "-" if one["flops"] is None else f"{one['flops'] / 1e12:.3g}",
        "-" if one["flops_ratio"] is None else f"{one['flops_ratio']:.2f}x",
        "-" if one["bytes"] is None else f"{one['bytes'] / 1e9:.3g}",
        moved or "-",
        bound,
        str(one["runs"]),
    ]
    return f"| {' | '.join(cells)} |"


def _moved(collectives: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{kind} {of['bytes'] / 1e9:.3g} GB" for kind, of in collectives.items())
