"""The workdir lock: one run at a time, and no lock outlives its holder."""

import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from sublax.errors import UserError
from sublax.lock import workdir_lock

HOLD = """
import sys, time
from sublax.lock import workdir_lock
with workdir_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def forge(workdir, **changes):
    """Leaves a lock as this very process would hold it, but for `changes`."""
    me = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "command": "sublax run",
    }
    (workdir / ".lock").write_text(json.dumps(me | changes))


def test_a_lock_can_be_taken_again_once_released(tmp_path):
    for _ in range(2):
        with workdir_lock(tmp_path / "new"):
            pass
    with pytest.raises(KeyError), workdir_lock(tmp_path):
        raise KeyError
    with workdir_lock(tmp_path):
        pass


def test_a_second_run_is_refused_and_told_who_holds_the_workdir(tmp_path, holder):
    with pytest.raises(UserError) as caught, workdir_lock(tmp_path):
        pass
    message = str(caught.value)
    assert f"{tmp_path}: in use by process {holder.pid} on {socket.gethostname()}" in message
    assert "-c" in message
    assert "\n" not in message


def test_a_lock_of_a_killed_run_is_taken_over_with_a_notice(tmp_path, holder, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workdir_lock(tmp_path):
        assert f"from process {holder.pid}, which ended without" in caplog.text


def test_a_zombie_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # Dead, but not yet reaped.
    assert psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE
    with workdir_lock(tmp_path):
        pass


def test_a_pid_that_was_given_out_again_holds_nothing(tmp_path):
    forge(tmp_path, started=psutil.Process().create_time() - 3600)
    with workdir_lock(tmp_path):
        pass
    forge(tmp_path)
    with pytest.raises(UserError, match="in use"), workdir_lock(tmp_path):
        pass


def test_a_lock_of_another_host_is_respected(tmp_path):
    forge(tmp_path, host="elsewhere", started=0.0)
    with (
        pytest.raises(UserError, match=r"on elsewhere.*if it is gone, delete .*\.lock"),
        workdir_lock(tmp_path),
    ):
        pass


def test_a_torn_lock_is_taken(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 1')
    with workdir_lock(tmp_path):
        pass


def test_of_many_runs_that_start_together_one_gets_a_stale_lock(tmp_path):
    forge(tmp_path, started=0.0)
    race = """
import sys, time
from sublax.errors import UserError
from sublax.lock import workdir_lock
sys.stdin.read(1)
try:
    with workdir_lock(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()
except UserError:
    print("refused", flush=True)
"""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", race, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    for run in runs:
        run.stdin.write("g")
        run.stdin.flush()
    outcomes = sorted(run.stdout.readline().strip() for run in runs)
    for run in runs:
        run.communicate()
    assert outcomes == ["held", "refused", "refused", "refused"]


def test_a_workdir_deleted_under_a_run_does_not_hide_how_the_run_ended(tmp_path):
    workdir = tmp_path / "gone"
    with workdir_lock(workdir):
        (workdir / ".lock").unlink()
        workdir.rmdir()
    assert not workdir.exists()
