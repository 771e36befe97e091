"""How far a run has come: bars with a rate and the time left, and one line per stage.

On a terminal a stage shows a live bar (by tqdm) and leaves one line behind. Where standard error
is a file or a pipe there are no bars, only a plain line when a stage starts and when it ends.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

ERASE_LINE = "\r\x1b[K"


def duration(seconds: float) -> str:
    """Says a time in the words of a terminal: `0.4 s`, `21 s`, `2 min 05 s`, `1 h 12 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Bar:
    """A bar over a known number of steps, advanced by hand.

    Args:
      total: how many steps there are; None where nobody knows (then a count and a rate).
      unit: what one step is, in the singular, such as "update".
      label: what stands before the bar.
      stream: where to draw; standard error by default.
      enabled: False draws nothing, as on every process but the first.
    """

    def __init__(
        self,
        total: int | None,
        unit: str = "step",
        label: str = "",
        stream: TextIO | None = None,
        enabled: bool = True,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._bar: tqdm = tqdm(
            total=total,
            unit=" " + unit,
            desc=label or None,
            file=stream,
            disable=not (enabled and stream.isatty()),
            leave=False,
            dynamic_ncols=True,
            mininterval=0.2,
        )

    def advance(self, steps: int = 1, **values: float | str) -> None:
        """Moves on by `steps`; `values`, host numbers such as a loss, are shown at the end.

        With 0 steps they are shown at once: what is done over again does not move the bar.
        """
        if values:
            self._bar.set_postfix(values, refresh=steps == 0)
        self._bar.update(steps)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Progress:
    """The stages of one run, numbered, with an estimate of the time left for all of them.

    Args:
      stages: name of each stage, in order, to its weight: the seconds it is expected to take, or
        anything proportional to them. The estimate scales the weights by what the finished stages
        really took, so there is none before the first one is finished.
      stream: where to write; standard error by default.
      enabled: False writes nothing, as on every process but the first.
    """

    def __init__(
        self, stages: Mapping[str, float], stream: TextIO | None = None, enabled: bool = True
    ) -> None:
        self._weights = dict(stages)
        self._numbers = {name: number for number, name in enumerate(self._weights, 1)}
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._live = enabled and self._stream.isatty()
        self._left = dict(stages)
        self._done_weight = 0.0
        self._done_seconds = 0.0
        self._current: str | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announces the stage `name` (a key of `stages`), and how long it took once it ends."""
        started = time.monotonic()
        self._current = name
        self._write(f"{self._title(name)} …", end="" if self._live else "\n")
        try:
            yield
        except BaseException:
            self._write(f"{self._title(name)} … stopped after {self._since(started)}")
            raise
        finally:
            self._current = None
        self._done_weight += self._left.pop(name, 0.0)
        self._done_seconds += time.monotonic() - started
        left = self.seconds_left()
        note = f" (about {duration(left)} left)" if left else ""
        self._write(f"{self._title(name)} … {self._since(started)}{note}")

    def skip(self, name: str) -> None:
        """Says that the stage `name` was done by an earlier run, and takes it off the estimate."""
        self._left.pop(name, None)
        self._write(f"{self._title(name)} … done before")

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def note(self, line: str) -> None:
        """Writes a line between two stages."""
        self._write(line)

    def bar(self, total: int | None, unit: str = "step") -> Bar:
        """A `Bar` that carries the title of the stage under way."""
        label = self._title(self._current) if self._current else ""
        return Bar(total, unit, label, self._stream, self._enabled)

    def seconds_left(self) -> float | None:
        """Seconds that the stages not finished yet should take; None while nothing is known."""
        if not self._done_weight:
            return None
        return sum(self._left.values()) * self._done_seconds / self._done_weight

    def _title(self, name: str) -> str:
        return f"[{self._numbers[name]}/{len(self._numbers)}] {name}"

    def _since(self, started: float) -> str:
        return duration(time.monotonic() - started)

    def _write(self, line: str, end: str = "\n") -> None:
        if self._enabled:
            erase = ERASE_LINE if self._live else ""
            print(f"{erase}{line}", end=end, file=self._stream, flush=True)


class PartProgress:
    """The stages of one part of a run, such as an arm, in the `Progress` of the whole.

    A stage NAME of it stands there as `PART: NAME`. Of what the part takes from others, and so has
    no stage there, nothing is told.

    Args:
      whole: of the run.
      part: its name.
    """

    def __init__(self, whole: Progress, part: str) -> None:
        self._whole = whole
        self._part = part

    def stage(self, name: str) -> AbstractContextManager[None]:
        """As `Progress.stage`."""
        full = self.full_name(self._part, name)
        return self._whole.stage(full) if full in self._whole else nullcontext()

    def skip(self, name: str) -> None:
        """As `Progress.skip`."""
        full = self.full_name(self._part, name)
        if full in self._whole:
            self._whole.skip(full)

    def note(self, line: str) -> None:
        """As `Progress.note`."""
        self._whole.note(f"{self._part}: {line}")

    def bar(self, total: int | None, unit: str = "step") -> Bar:
        """As `Progress.bar`."""
        return self._whole.bar(total, unit)

    @staticmethod
    def full_name(part: str, name: str) -> str:
        """A stage's name in the whole."""
        return f"{part}: {name}"


def track(items: Iterable[Item], total: int | None = None, **options: Any) -> Iterator[Item]:
    """Yields the items and shows a `Bar` meanwhile; `options` are those of `Bar`.

    `total` is the number of items, and may be left out where `items` has a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Bar(total, **options) as bar:
        for item in items:
            yield item
            bar.advance()
