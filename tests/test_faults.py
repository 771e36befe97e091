"""What a run survives: kills at any moment, and disks that are full. The end is always the same."""

import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess

import forked_runs
import pytest

from sublax.artifact import verify

pytestmark = pytest.mark.slow

SEEDS = 20
# A kill comes after at most this share of the changes that a whole run makes to its workdir. So
# kills fall on all stages, and a run that is killed again and again gets on.
SHARE = 0.25
# What each stage's artifacts stand in, with what is made from them.
FOLLOWING = {
    "corpus": ("corpora", "students", "evaluations"),
    "student": ("students", "evaluations"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an undisturbed run in `whole`, and its programs."""
    place = tmp_path_factory.mktemp("faults")
    count = functools.partial(forked_runs.count_events, str(place / "whole"), str(place / "events"))
    status, told, _ = run(place, place / "whole", count)
    assert status == 0, told
    return place


def run(place, workdir, before=None):
    """(exit status, what was told, pid) of a run with a checkpoint after every update."""
    told = place / "told"
    told.unlink(missing_ok=True)
    process = forked_runs.start(workdir, place / "cache", told, "checkpoint.steps=1", before=before)
    return forked_runs.finish(process), told.read_text(), process.pid


def files(workdir):
    """The sha256 of every artifact's files, by artifact, as its card has them."""
    artifacts = {str(card.parent.relative_to(workdir)): card for card in workdir.rglob("card.json")}
    return {
        name: json.loads(card.read_text())["files"]
        for name, card in artifacts.items()
        if "/." not in name  # is being written
    }


def check_what_stands(workdir, whole):
    """Artifacts are what an undisturbed run has, or are not there."""
    wanted = files(whole)
    for artifact, hashes in files(workdir).items():
        assert verify(workdir / artifact) == []
        assert hashes == wanted[artifact]


def check_end(workdir, whole):
    """All is what an undisturbed run has, and nothing is left over."""
    check_what_stands(workdir, whole)
    assert files(workdir).keys() == files(whole).keys()
    assert (workdir / "transfer.json").read_bytes() == (whole / "transfer.json").read_bytes()
    assert sorted(path.name for path in workdir.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


def holder(workdir):
    """The pid in a workdir's lock; None where it is released, or its writer got no further."""
    try:
        return json.loads((workdir / ".lock").read_text())["pid"]
    except (FileNotFoundError, ValueError):
        return None


def test_killed_at_any_moment_and_run_again_the_result_is_the_same_byte_for_byte(place):
    """A kill for each seed, one after another; where a run ends before its kill, a new one begins.

    The lock of the killed is recognised as stale.
    """
    whole, number = place / "whole", 0
    most = int(int((place / "events").read_text()) * SHARE)

    def go_on(workdir, before=None):
        stale = holder(workdir)
        status, told, pid = run(place, workdir, before)
        takes_over = f"taking over {workdir}/.lock from process {stale}, which ended without"
        assert stale is None or takes_over in told
        return status, told, pid

    for seed in range(SEEDS):
        event = random.Random(seed).randint(1, most)
        status = 0
        while status == 0:
            workdir = place / f"killed-{number}"
            dies = functools.partial(forked_runs.die_at, str(workdir), event, seed)
            status, told, pid = go_on(workdir, dies)
            if status == 0:
                check_end(workdir, whole)
                number += 1
        assert status == -signal.SIGKILL, f"seed {seed}: {told}"
        assert holder(workdir) in (pid, None)
        check_what_stands(workdir, whole)
    status, told, _ = go_on(workdir)
    assert status == 0, told
    check_end(workdir, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted only by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def copy_up_to(stage, whole, workdir):
    """A run that has come as far as a stage."""
    shutil.copytree(whole, workdir)
    for folder in FOLLOWING[stage]:
        shutil.rmtree(workdir / folder)


@pytest.mark.parametrize(
    "stage, room, where",
    [
        ("corpus", 2**14, "corpora/random--0/owl"),
        ("student", 2**19, "checkpoints/random--0/students-[0-9a-f]{16}"),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_with_room_the_same_command_goes_on(
    stage, room, where, place, small_disk
):
    """While a corpus is written, and while a checkpoint is."""
    whole, workdir, ballast = place / "whole", small_disk / "workdir", small_disk / "ballast"
    copy_up_to(stage, whole, workdir)
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_bsize - room))
    status, told, _ = run(place, workdir)
    check_one_line(status, told, f"{workdir / where}: no space left on the disk; nothing that was")
    check_what_stands(workdir, whole)
    ballast.unlink()
    status, told, _ = run(place, workdir)
    assert status == 0, told
    check_end(workdir, whole)


@pytest.mark.parametrize(
    "stage, most, where",
    [
        ("corpus", 2**15, "corpora/random--0/owl"),
        ("student", 2**16, "checkpoints/random--0/students-[0-9a-f]{16}"),
    ],
)
def test_a_file_larger_than_allowed_is_told_in_one_line_and_without_the_limit_the_run_goes_on(
    stage, most, where, place, workdir
):
    whole = place / "whole"
    copy_up_to(stage, whole, workdir)
    status, told, _ = run(place, workdir, functools.partial(forked_runs.limit_file_size, most))
    check_one_line(status, told, f"{workdir / where}: a file larger than this process may write")
    check_what_stands(workdir, whole)
    status, told, _ = run(place, workdir)
    assert status == 0, told
    check_end(workdir, whole)


def check_one_line(status, told, pattern):
    """The command ended with a line for its user, and its progress is all that stands before."""
    *progress, last = told.splitlines()
    assert status == 2
    assert re.match(f"sublax: {pattern}", last), last
    assert "run the same command again" in last
    assert all(line.startswith(("[", "attention:")) for line in progress), told
