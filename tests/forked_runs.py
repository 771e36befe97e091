"""Runs as processes that are forked from one that has imported everything, to be killed at will.

A process of its own spends seconds on imports before it does anything that could be disturbed.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import random
import resource
import signal
import sys
import threading
from collections.abc import Callable
from unittest import mock

from tiny_runs import ROOT, command

# What a run does to its workdir: between any two of these it looks different to a successor.
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
MOST_SECONDS_LATER = 0.05


def start(
    workdir: pathlib.Path,
    cache: pathlib.Path,
    told: pathlib.Path,
    *overrides: str,
    before: Callable[[], None] | None = None,
) -> multiprocessing.Process:
    """Starts `sublax run` of the cut-down experiment.

    Args:
        workdir: of the run.
        cache: folder of compiled programs.
        told: file that is to get what the run tells at the terminal.
        overrides: of the config, after those of `SMALL`.
        before: called in the process before the run, as `functools.partial(die_at, ...)`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sublax.verbs.run"])
    variables = {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    with mock.patch.dict(os.environ, variables):
        multiprocessing.forkserver.ensure_running()
    arguments = command(workdir, *overrides)
    process = context.Process(target=_run, args=(arguments, str(cache), str(told), before))
    process.start()
    return process


def finish(process: multiprocessing.Process) -> int:
    """The exit status of a run, negative where a signal ended it."""
    process.join(300)
    assert process.exitcode is not None, "hangs"
    return process.exitcode


def die_at(workdir: str, event: int, seed: int) -> None:
    """Kills this process, by SIGKILL, a random instant after the given change of its workdir.

    Counted in what it does and not in seconds, a moment is the same on a slow machine; the instant
    after lets it fall into whatever follows, also where Python is not asked.
    """
    seconds = random.Random(seed).uniform(0, MOST_SECONDS_LATER)

    def at(count):
        if count == event:
            killer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGKILL])
            killer.daemon = True
            killer.start()

    _watch(workdir, at)


def count_events(workdir: str, into: str) -> None:
    """Keeps the number of changes to the workdir so far in a file."""
    path = pathlib.Path(into)
    _watch(workdir, lambda count: path.write_text(str(count)))


def limit_file_size(size: int) -> None:
    """No file of this process may grow beyond `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _watch(workdir: str, at: Callable[[int], None]) -> None:
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event not in EVENTS or not str(arguments[0]).startswith(workdir):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        count += 1
        at(count)

    sys.addaudithook(hook)


def _run(arguments: list[str], cache: str, told: str, before) -> None:
    output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import jax  # imported already: this process is a copy of one that has
    import tqdm

    from sublax.cli import main

    # Its own lock is one between processes, which one that is killed would leave behind.
    tqdm.tqdm.set_lock(threading.RLock())

    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if before is not None:
        before()
    sys.exit(main(arguments))
