"""Progress is live on a terminal and all but silent elsewhere."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from sublax.progress import Bar, Progress, duration, track

STAGES = """
import time
from sublax.progress import Progress
progress = Progress({"teacher owl": 1, "student owl": 3})
with progress.stage("teacher owl"), progress.bar(4, unit="update") as bar:
    for step in range(4):
        time.sleep(0.25)
        bar.advance(1, loss=1.5)
with progress.stage("student owl"):
    pass
"""


def on_a_terminal(code: str) -> str:
    """Runs Python code with a pseudo-terminal as its standard error; returns what it shows."""
    master, slave = pty.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 100, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, rows_and_columns)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux reports the end of a pseudo-terminal as an error.
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    assert process.wait() == 0, shown
    return shown.decode()


def test_a_terminal_shows_a_bar_with_rate_time_left_and_loss():
    shown = on_a_terminal(STAGES)
    bar = re.search(r"\[1/2\] teacher owl: +\d+%.*?2/4 \[00:00<00:00, .*?update/s, loss=1.5", shown)
    assert bar, shown
    lines = shown.split("\r\n")
    assert re.search(r"\x1b\[K\[1/2\] teacher owl … 1\.\d s \(about 3\.\d s left\)$", lines[0])
    assert re.search(r"\x1b\[K\[2/2\] student owl … 0\.\d s$", lines[1])


def test_what_is_done_over_again_is_told_at_once_beside_a_full_bar():
    shown = on_a_terminal(
        "from sublax.progress import Bar\n"
        "with Bar(4) as bar:\n"
        "    bar.advance(4)\n"
        "    bar.advance(0, again=3)\n"
        "    bar.advance(0, again=1)\n"
    )
    assert re.search(r"4/4 \[.*?, again=3\].*4/4 \[.*?, again=1\]", shown), shown


def test_elsewhere_there_is_one_line_at_the_start_and_one_at_the_end():
    finished = subprocess.run([sys.executable, "-c", STAGES], capture_output=True, text=True)
    lines = finished.stderr.splitlines()
    assert len(lines) == 4 and "\r" not in finished.stderr and "\x1b" not in finished.stderr
    assert lines[0] == "[1/2] teacher owl …"
    assert re.fullmatch(r"\[1/2\] teacher owl … 1\.\d s \(about 3\.\d s left\)", lines[1])
    assert lines[2] == "[2/2] student owl …"


def test_the_estimate_scales_the_weights_by_what_was_done(monkeypatch):
    clock = iter([100.0, 110.0, 110.0])
    monkeypatch.setattr("sublax.progress.time.monotonic", lambda: next(clock))
    progress = Progress({"a": 2, "b": 5, "c": 3}, stream=io.StringIO())
    assert progress.seconds_left() is None
    with progress.stage("a"):
        pass
    assert progress.seconds_left() == pytest.approx(40.0)
    progress.skip("b")
    assert progress.seconds_left() == pytest.approx(15.0)


def test_a_stage_that_fails_says_so_and_lets_the_error_through():
    stream = io.StringIO()
    progress = Progress({"a": 1}, stream=stream)
    with pytest.raises(ZeroDivisionError), progress.stage("a"):
        raise ZeroDivisionError
    assert "[1/1] a … stopped after" in stream.getvalue()
    assert progress.seconds_left() is None


def test_other_hosts_are_silent():
    stream = io.StringIO()
    progress = Progress({"a": 1, "b": 1}, stream=stream, enabled=False)
    progress.skip("a")
    with progress.stage("b"), progress.bar(2) as bar:
        bar.advance()
    assert stream.getvalue() == ""


def test_track_yields_every_item():
    assert list(track("abc", stream=io.StringIO())) == ["a", "b", "c"]
    with Bar(None, stream=io.StringIO()) as bar:
        bar.advance(3)


@pytest.mark.parametrize(
    "seconds, words",
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
     (125, "2 min 05 s"), (4320, "1 h 12 min")],
)  # fmt: skip
def test_durations_read_as_words(seconds, words):
    assert duration(seconds) == words
