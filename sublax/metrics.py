"""What a run measures as it goes: TensorBoard events, and the same numbers as JSON lines.

Each run (a teacher, a student) has its folder `DIR/tensorboard/<run>/` with TensorBoard's event
files and `metrics.jsonl`, one object a line: `{"step": 8, "seconds": …, "scalars": {"loss": …}}`,
where `seconds` is the time since the epoch; a text stands under `"text": {name: string}` instead,
and hyper-parameters under `"hparams"` and `"metrics"`.

A resume writes some steps again. `begin(run, step)` makes that harmless: it tells TensorBoard that
all of that run from `step` on is void (`purge_step`), and drops the same lines from the JSON copy,
with any line that a kill cut short.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tensorboardX import summary as summaries
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from sublax.errors import UserError
from sublax.files import disk_errors

METRICS_FILE = "metrics.jsonl"
FLUSH_SECONDS = 5.0


class MetricWriter:
    """Writes the metrics of all runs of a workdir.

    Values are numbers that are on the host already: the writer never waits for a device. It is
    for one process; the other hosts of a run pass `enabled=False`, and nothing is written there.

    Args:
      workdir: the folder DIR; files go to DIR/tensorboard.
      enabled: False makes every method do nothing.
    """

    def __init__(self, workdir: str | os.PathLike[str], enabled: bool = True) -> None:
        self._root = Path(workdir) / "tensorboard"
        self.enabled = enabled
        self._runs: dict[str, _Run] = {}
        self._flushed = time.monotonic()

    def begin(self, run: str, step: int = 0) -> None:
        """Starts `run`, or resumes it: whatever it holds at `step` and after is superseded."""
        if run in self._runs:
            self._runs.pop(run).close()
        if self.enabled:
            self._runs[run] = _Run(self._root / run, purge_step=step)

    def go_on(self, run: str, step: int) -> None:
        """Resumes `run` at the first step that this process writes of it; then does nothing."""
        if run not in self._runs:
            self.begin(run, step)

    def scalars(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Writes the numbers named in `values` as they were after `step` updates."""
        if self.enabled:
            found = [summaries.scalar(name, value) for name, value in values.items()]
            self._open(run).write(step, found, {"scalars": dict(values)})
            # What a kill takes should be less than what lies between two checkpoints.
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self.flush()

    def text(self, run: str, name: str, step: int, text: str) -> None:
        """Writes a piece of text, such as a sampled row; TensorBoard shows it verbatim."""
        if self.enabled:
            # TensorBoard renders Markdown, where an indented line stands as it is.
            indented = "\n".join("    " + line for line in text.splitlines())
            self._open(run).write(step, [summaries.text(name, indented)], {"text": {name: text}})

    def image(self, run: str, name: str, step: int, image_HxWx3: np.ndarray) -> None:
        """Writes a picture, uint8, red, green and blue (`figures.to_pixels` makes one)."""
        if self.enabled:
            self._open(run).write(step, [summaries.image(name, image_HxWx3, dataformats="HWC")])

    def hparams(
        self, run: str, values: Mapping[str, bool | int | float | str], metrics: Mapping[str, float]
    ) -> None:
        """Writes the settings of a run and what came of it, for TensorBoard's HParams tab."""
        if self.enabled:
            found = list(summaries.hparams(dict(values), dict(metrics)))
            found += [summaries.scalar(name, value) for name, value in metrics.items()]
            line = {"hparams": dict(values), "metrics": dict(metrics)}
            self._open(run).write(0, found, line)

    def flush(self) -> None:
        """Brings to the disk what was written so far; call it beside every checkpoint."""
        for run in self._runs.values():
            run.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes all files, also where the disk has no room for one of them."""
        with contextlib.ExitStack() as closing:
            for run in self._runs.values():
                closing.callback(run.close)
            self._runs.clear()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # On a full disk this fails too; what failed first says more.
        with contextlib.suppress(UserError) if kind else contextlib.nullcontext():
            self.close()

    def _open(self, run: str) -> "_Run":
        if run not in self._runs:
            self._runs[run] = _Run(self._root / run)
        return self._runs[run]


class _Run:
    """The two files of one run.

    Events go through tensorboardX's EventsWriter and not its SummaryWriter, whose queue and thread
    (one a run) keep the last events of a killed process from the disk even after a flush.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self._folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lines = folder / METRICS_FILE
            _mend(lines, purge_step)
            self._lines: TextIO = lines.open("a", encoding="utf-8")
            # Event files are named by the second: without the number, a run that is resumed within
            # one would overwrite what it wrote before.
            number = sum(1 for _ in folder.glob("events.*"))
            self._events = EventsWriter(str(folder / "events"), f".{number:04d}")
            if purge_step is not None:
                start = SessionLog(status=SessionLog.START)
                self._events.write_event(
                    Event(wall_time=time.time(), step=purge_step, session_log=start)
                )

    def write(self, step: int, found: list[Any], line: Mapping[str, Any] | None = None) -> None:
        now = time.time()
        with disk_errors(self._folder):
            for summary in found:
                self._events.write_event(Event(wall_time=now, step=step, summary=summary))
            if line is not None:
                record = {"step": step, "seconds": round(now, 3), **_finite(line)}
                self._lines.write(json.dumps(record, allow_nan=False) + "\n")

    def flush(self) -> None:
        with disk_errors(self._folder):
            self._events.flush()
            self._lines.flush()

    def close(self) -> None:
        with disk_errors(self._folder), contextlib.closing(self._lines):
            self._events.close()


def _finite(value: Any) -> Any:
    """Replaces nan and infinity, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, int | str) or value is None:
        return value
    return float(value) if math.isfinite(value) else None


def _mend(path: Path, purge_step: int | None) -> None:
    """Drops a last line cut short, and all lines of `purge_step` and after, in one rename."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")[:-1]
    if purge_step is not None:
        lines = [line for line in lines if json.loads(line)["step"] < purge_step]
    mended = "".join(line + "\n" for line in lines)
    if mended != text:
        fresh = path.with_suffix(".tmp")
        fresh.write_text(mended, encoding="utf-8")
        os.replace(fresh, path)
