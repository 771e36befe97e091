"""Two implementations of one workload, timed in turns, each in a process of its own.

A process a side keeps torch's threads out of jax's way, gives each side its own peak memory, and
makes "from start to first update" mean something. The sides take turns, so that a slow minute of
the machine falls on both. A turn's first unit is not timed: memory that a side had freed goes back
to the system, and on a virtual machine to its host, while the other side has its turn, and to get
it again can cost a third of a unit. Whoever trains does one unit after the other.
Linux only: the sides are pinned to the same CPUs.
"""

import importlib
import math
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from sublax.__main__ import HUGE_PAGES

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Work(NamedTuple):
    """What one unit did.

    Attributes:
        amount: how much, in the workload's own unit: 1 update, or so many tokens.
        loss: the loss before the update, where there is one; the sides' first must agree.
    """

    amount: float = 1.0
    loss: float | None = None


Unit = Callable[[], Work]
"""Does one unit of work, waits until it is done, and says what it did."""

Build = Callable[[], Unit]
"""Loads and prepares everything in the side's own process. It travels there by pickle."""


@dataclass(frozen=True)
class Call:
    """A `Build` by name, so that only the process which calls it imports its module.

    Attributes:
        function: `"package.module:function"`.
        arguments: keyword arguments, which travel by pickle.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Unit:
        """Imports the function and calls it."""
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


@dataclass(frozen=True)
class Side:
    """What was measured of one side.

    Attributes:
        seconds: of each timed unit.
        amounts: what each of them did; see `Work`.
        start_seconds: from an empty process to the end of the first unit.
        first_seconds: of the first unit, compilation in it.
        first_loss: what the first unit said its loss was.
        peak_bytes: the process's largest resident memory.
    """

    seconds: tuple[float, ...]
    amounts: tuple[float, ...]
    start_seconds: float
    first_seconds: float
    first_loss: float | None
    peak_bytes: int

    @property
    def median(self) -> float:
        """Median seconds of a unit."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Median amount a second."""
        return statistics.median(
            amount / spent for amount, spent in zip(self.amounts, self.seconds, strict=True)
        )


@dataclass(frozen=True)
class Row:
    """One workload on both sides.

    Attributes:
        name: of the workload.
        sublax: our side.
        peer: the other side.
        peer_bfloat16: the other side with products in bfloat16, where that was asked for.
        flops: floating-point operations that one unit needs, None where nobody counted.
    """

    name: str
    sublax: Side
    peer: Side
    peer_bfloat16: Side | None
    flops: float | None

    @property
    def ratio(self) -> float:
        """How many times the peer's rate ours is."""
        return self.sublax.rate / self.peer.rate

    @property
    def ratio_bfloat16(self) -> float | None:
        """The same against the peer in bfloat16, while ours stays in float32."""
        other = self.peer_bfloat16
        return None if other is None else self.sublax.rate / other.rate

    def times_limit(self, flops_per_second: float) -> float | None:
        """Our seconds over those that the FLOPs alone would take at the machine's rate."""
        return None if self.flops is None else self.sublax.median * flops_per_second / self.flops


def compare(
    name: str,
    sublax: Build,
    peer: Build,
    peer_bfloat16: Build | None = None,
    flops: float | None = None,
    repeats: int = 5,
    threads: int = 2,
    loss_tolerance: float = 1e-3,
) -> Row:
    """Measures one workload on both sides.

    Args:
        name: of the workload, for the table.
        sublax: builds our side; a `Call` keeps its imports out of the other process.
        peer: builds the other side.
        peer_bfloat16: builds it with products in bfloat16; its loss is rounded, so not compared.
        flops: of one unit.
        repeats: turns of each side, one timed unit each; before them come the first unit and one
            more to warm up.
        threads: CPUs that each side gets.
        loss_tolerance: largest relative difference of the two first losses.

    Raises:
        ValueError: the sides' first losses differ, so they did not do the same work.
        RuntimeError: a side ended; its traceback is on standard error.
    """
    builds = {"sublax": sublax, "peer": peer}
    if peer_bfloat16 is not None:
        builds["peer in bfloat16"] = peer_bfloat16
    sides = alternate(builds, repeats, threads)
    row = Row(name, sides["sublax"], sides["peer"], sides.get("peer in bfloat16"), flops)
    ours, theirs = row.sublax.first_loss, row.peer.first_loss
    if (
        ours is not None
        and theirs is not None
        and not math.isclose(ours, theirs, rel_tol=loss_tolerance)
    ):
        raise ValueError(f"{name}: first loss {ours:.6f} here, {theirs:.6f} on the peer's side")
    return row


def alternate(builds: Mapping[str, Build], repeats: int = 5, threads: int = 2) -> dict[str, Side]:
    """Runs any number of sides in turns; see `compare`."""
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}: at least one unit must be timed")
    sides = {name: _Process(name, build, threads) for name, build in builds.items()}
    try:
        units = {name: [side.run()] for name, side in sides.items()}
        for side in sides.values():
            side.run()
        for _ in range(repeats):
            for name, side in sides.items():
                side.run()
                units[name].append(side.run())
        return {name: side.summary(units[name]) for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.end()


def start_seconds(name: str, build: Build, threads: int = 2) -> float:
    """Seconds from an empty process to the end of the first unit."""
    side = _Process(name, build, threads)
    try:
        side.run()
        return side.start_seconds
    finally:
        side.end()


def use_huge_pages() -> None:
    """Gives the sides that start from now on what `sublax` gives itself: memory in huge pages."""
    os.environ.setdefault("GLIBC_TUNABLES", HUGE_PAGES)


class _Process:
    """A side's process, seen from the one that keeps the turns."""

    def __init__(self, name: str, build: Build, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._build = build
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, threads), daemon=True)
        self._started: float | None = None
        self.start_seconds = 0.0
        self._far_end = far_end

    def run(self) -> tuple[float, Work]:
        """Seconds of one unit, and what it did. The process starts with the first."""
        if self._started is None:
            self._started = time.perf_counter()
            self._process.start()
            self._far_end.close()  # so that the side's end shows here as an end of file
            self._ask(self._build)
            unit = self._ask("run")
            self.start_seconds = time.perf_counter() - self._started
            return unit
        return self._ask("run")

    def summary(self, units: list[tuple[float, Work]]) -> Side:
        """Tells the first unit apart from the timed ones."""
        (first_seconds, first_work), *timed = units
        return Side(
            seconds=tuple(seconds for seconds, _ in timed),
            amounts=tuple(work.amount for _, work in timed),
            start_seconds=self.start_seconds,
            first_seconds=first_seconds,
            first_loss=first_work.loss,
            peak_bytes=self._ask("peak"),
        )

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._started is not None:
            self._process.terminate()
            self._process.join()

    def _ask(self, request: Any) -> Any:
        try:
            self._pipe.send(request)
            return self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise RuntimeError(f"the process of side {self._name!r} ended") from None


def _serve(pipe: Connection, threads: int) -> None:
    """A side's process: takes its build, then does what it is asked."""
    # Both before the build is unpickled: libraries count CPUs when they are imported.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    unit: Unit = pipe.recv()()
    pipe.send("ready")
    while True:
        if pipe.recv() == "peak":
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            continue
        started = time.perf_counter()
        work = unit()
        pipe.send((time.perf_counter() - started, work))


def table(rows: list[Row], flops_per_second: float | None = None) -> str:
    """The rows as a Markdown table.

    Args:
        rows: what `compare` gave.
        flops_per_second: the machine's measured rate, for the column of the limit.
    """
    lines = [
        "| workload | sublax | peer | ratio | peer in bfloat16 | ratio | sublax / limit "
        "| first unit, sublax / peer | start to first unit | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row.sublax, row.peer
        limit = row.times_limit(flops_per_second) if flops_per_second else None
        cells = [
            row.name,
            _speed(ours),
            _speed(theirs),
            f"{row.ratio:.2f}x",
            "" if row.peer_bfloat16 is None else _speed(row.peer_bfloat16),
            "" if row.ratio_bfloat16 is None else f"{row.ratio_bfloat16:.2f}x",
            "" if limit is None else f"{limit:.2f}x",
            f"{ours.first_seconds:.1f} / {theirs.first_seconds:.1f} s",
            f"{ours.start_seconds:.1f} / {theirs.start_seconds:.1f} s",
            f"{ours.peak_bytes / 2**30:.2f} / {theirs.peak_bytes / 2**30:.2f} GiB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _speed(side: Side) -> str:
    """Seconds of a unit; for units that count something, also how much of it a second."""
    seconds = f"{side.median:.3f} s"
    return seconds if set(side.amounts) == {1.0} else f"{seconds} ({side.rate:.0f}/s)"
