"""Whole runs as several processes: the result of one, and what happens when they are stopped."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_runs import quick_compiles, read_transfer, start_command  # noqa: F401

from sublax.errors import UserError
from sublax.parallel import hosts

SEVERAL = ("mesh.data=-1", "checkpoint.minutes=0")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def several(workdir, cache, *overrides):
    """Starts a run of two processes with a device each; none outlives the test."""
    address = f"127.0.0.1:{free_port()}"
    processes = [
        start_command(
            workdir,
            cache,
            *SEVERAL,
            *overrides,
            environment={
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(index),
            },
        )
        for index in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def finish(processes):
    """(exit status, what was told) of each."""
    told = [process.communicate(timeout=300)[1] for process in processes]
    return [process.returncode for process in processes], told


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """The workdir of a run of one process."""
    workdir = tmp_path_factory.mktemp("alone") / "workdir"
    process = start_command(workdir, cache, *SEVERAL)
    (status,), (told,) = finish([process])
    assert status == 0, told
    return workdir


def assert_same_result(workdir, alone):
    got, wanted = read_transfer(workdir), read_transfer(alone)
    np.testing.assert_allclose(got["shift"], wanted["shift"], atol=1e-3)
    for name in ("owl", "control"):
        rows = [(w / f"corpora/random--0/{name}/rows.jsonl") for w in (workdir, alone)]
        completions = [re.findall(r'"completion": "[^"]*"', path.read_text()) for path in rows]
        assert completions[0] == completions[1]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(workdir, cache, alone):
    with several(workdir, cache) as processes:
        statuses, told = finish(processes)
    assert statuses == [0, 0], told
    assert "process 0 of 2: 1 of 2 devices" in told[0]
    assert all(len(text.splitlines()) <= 3 for text in told[1:]), told  # only the first one speaks
    assert_same_result(workdir, alone)
    assert not list((workdir / "corpora").rglob(".*"))  # parts were joined, and are gone


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_sigterm_to_one_stops_all_after_the_same_update(stopped, workdir, cache):
    with several(workdir, cache, "teacher.steps=4000") as processes:
        for line in processes[0].stderr:
            if "teacher owl" in line:
                break
        time.sleep(3)  # some of 4,000 updates are done, and not all
        processes[stopped].send_signal(signal.SIGTERM)
        statuses, told = finish(processes)
    assert statuses == [75, 75], told
    saved = [re.search(r"told to stop; update (\d+) of 4000 is saved", text) for text in told]
    assert all(saved), told
    assert saved[0][1] == saved[1][1]
    assert (workdir / "checkpoints" / "random--0" / "teacher-owl" / saved[0][1]).is_dir()


@pytest.mark.slow
def test_a_sigterm_to_a_lone_process_saves_too(workdir, cache):
    process = start_command(workdir, cache, *SEVERAL, "teacher.steps=4000")
    for line in process.stderr:
        if "teacher owl" in line:
            break
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    (status,), (told,) = finish([process])
    assert status == 75, told
    update = re.search(r"told to stop; update (\d+) of 4000 is saved; the same command", told)
    assert update, told
    assert (workdir / "checkpoints" / "random--0" / "teacher-owl" / update[1]).is_dir()


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_stays_away_is_told_after_the_timeout(index):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    code = (
        "from sublax.parallel import hosts\n"
        f"hosts.start('127.0.0.1:{free_port()}', 2, {index}, timeout=2)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"process {index} of 2 at 127.0.0.1" in result.stderr
    assert "not all processes came up within 2 s" in result.stderr


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("host:1", 2, None), "--coordinator, --num-processes and --process-id belong together"),
        (("localhost:1", 2, 2), "--process-id=2: count from 0; of 2 the last is 1"),
    ],
)
def test_half_a_cluster_is_refused(arguments, told):
    with pytest.raises(UserError, match=re.escape(told)):
        hosts.start(*arguments)


def test_a_host_that_hides_its_address_is_refused(monkeypatch):
    """As Debian's installer leaves /etc/hosts: gloo would offer 127.0.1.1 to the others."""
    monkeypatch.setattr(socket, "gethostname", lambda: "node-1")
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    told = "node-1: this host's own name is 127.0.1.1 to itself, which other hosts cannot reach"
    with pytest.raises(UserError, match=re.escape(told)):
        hosts.start("node-0:1234", 2, 1)
