"""Preemption: a SIGTERM stops all processes of a run after the same update, and loses nothing."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

EXIT_STATUS = 75  # EX_TEMPFAIL: try again


class Preempted(Exception):
    """The run was told to stop, and has saved what it had."""


class _Notice:
    """Whether a SIGTERM came to a process that is alone."""

    def __init__(self):
        self.came = threading.Event()
        self.waits_for_save = False

    def __call__(self, *_):
        self.came.set()
        if not self.waits_for_save:
            raise Preempted("outside a training: finished stages are kept")


class Preemption:
    """Asks, between updates, whether to stop.

    Of several processes jax's own service tells all, whichever got the signal; one alone has only
    the signal. Outside a training there is nothing to save, and one alone stops at once.
    """

    def __init__(self, notice: _Notice | None):
        self._notice = notice

    def reached(self, step: int) -> bool:
        """Whether all processes are to stop after update `step`; the same answer in each."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._notice is not None and self._notice.came.is_set()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Within it a notice waits until `reached` is asked."""
        if self._notice is None:
            yield
            return
        self._notice.waits_for_save = True
        try:
            yield
        finally:
            self._notice.waits_for_save = False


NEVER = Preemption(None)


@contextlib.contextmanager
def watched() -> Iterator[Preemption]:
    """Listens for SIGTERM while it is open."""
    # A handler of ours would take the signal from jax's service; outside the main thread Python
    # allows none.
    is_main = threading.current_thread() is threading.main_thread()
    if jax.process_count() > 1 or not is_main:
        yield NEVER
        return
    notice = _Notice()
    before = signal.signal(signal.SIGTERM, notice)
    try:
        yield Preemption(notice)
    finally:
        signal.signal(signal.SIGTERM, before)
