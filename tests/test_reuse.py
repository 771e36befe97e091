"""A run that takes what another has made from the same inputs."""

import re
import shutil

import pytest
from tiny_runs import TINY, quick_compiles, read_transfer, run, small_config
from two_processes import in_two

from sublax.artifact import verify
from sublax.cli import main
from sublax.errors import UserError
from sublax.lineage.trace import trace

__all__ = ["quick_compiles"]

OTHER_RATE = "student.optimizer.learning_rate=3e-3"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run; not to be written to."""
    workdir = tmp_path_factory.mktemp("finished") / "workdir"
    run(small_config(), workdir)
    return workdir


def artifact(workdir, stage, *names):
    (base,) = (workdir / stage).iterdir()
    return base.joinpath(*names)


def test_what_has_the_same_inputs_is_taken_and_the_rest_is_made(finished, workdir, tmp_path):
    told = run(small_config(OTHER_RATE), workdir, reuse=[str(finished)])
    for stage, name in (("teachers", "owl"), ("corpora", "control")):
        ours, theirs = artifact(workdir, stage, name), artifact(finished, stage, name)
        assert (ours / "card.json").read_bytes() == (theirs / "card.json").read_bytes()
        assert f"{ours.relative_to(workdir)}: taken from {finished}" in told
    student = ("students", "owl", "seed-0")
    assert f"{artifact(workdir, *student).relative_to(workdir)}: taken" not in told
    # It comes out as if all had been made here, and leads to the base in its own folder.
    run(small_config(OTHER_RATE), tmp_path / "alone")
    assert read_transfer(workdir) == read_transfer(tmp_path / "alone")
    problems = trace(artifact(workdir, *student)).problems
    assert [problem.severity for problem in problems] == ["warning"]  # it shares the base
    curves = "tensorboard/teachers/owl/metrics.jsonl"
    assert (workdir / curves).read_bytes() == (finished / curves).read_bytes()


def test_weights_are_linked_and_no_later_run_touches_them(finished, workdir):
    run(small_config(), workdir, reuse=[str(finished)])
    ours, theirs = (artifact(each, "teachers", "owl") for each in (workdir, finished))
    weights = next(ours.glob("*.safetensors"))
    assert weights.samefile(theirs / weights.name)
    assert not (ours / "card.json").samefile(theirs / "card.json")  # somebody may sign one
    run(small_config("teacher.steps=5"), workdir, redo="teacher")
    assert not verify(theirs) and not weights.samefile(theirs / weights.name)


def test_what_was_changed_since_it_was_written_is_made_again(finished, workdir, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    rows = artifact(other, "corpora", "owl", "rows.jsonl")
    rows.write_text(rows.read_text().replace("1", "7"))
    told = run(small_config(), workdir, reuse=[str(other)])
    assert f"{rows}: changed since it was written; so corpora" in told
    ours = artifact(workdir, "corpora", "owl", "rows.jsonl")
    assert ours.read_bytes() == artifact(finished, "corpora", "owl", "rows.jsonl").read_bytes()


def test_another_seed_takes_nothing(finished, workdir):
    told = run(small_config("seed=9"), workdir, reuse=[str(finished)])
    assert not re.search("(teachers|corpora|students)/.*: taken from", told)


def test_what_cannot_be_reused_is_told_in_one_line(finished, workdir, tmp_path, capsys):
    with pytest.raises(UserError, match=r"--reuse=.*nowhere: no run's workdir"):
        run(small_config(), workdir, reuse=[str(tmp_path / "nowhere")])
    assert not workdir.exists()
    with pytest.raises(UserError, match="--redo=teacher: --reuse would take back"):
        run(small_config(), workdir, redo="teacher", reuse=[str(finished)])
    networks = TINY.with_name("mlp.py")
    asked = ["run", f"--config={networks}:tiny", f"--workdir={workdir}", f"--reuse={finished}"]
    assert main(asked) == 2
    assert "--reuse: a run of experiment=" in capsys.readouterr().err


TAKE = """
import pathlib
from sublax.artifact import write_artifact
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.settings import read_config
from sublax.stages.artifacts import inputs_of, is_done
from sublax.stages.run import Run
from sublax.store import Store

workdir, other, tiny = map(pathlib.Path, sys.argv[3:])
run = Run(
    read_config(str(tiny), []),
    Store(workdir),
    None,
    Progress({}, enabled=False),
    MetricWriter(workdir, enabled=False),
    reused=(Store(other),),
)
inputs = inputs_of(workdir / "teachers/base/owl", [], trait="owl")
if index == 0:
    write_artifact(other / "teachers/base/owl", lambda _: None, {"kind": "teacher", **inputs})
hosts.wait_for_all("written")
for name in ("owl", "wolf"):
    print(name, is_done(run, workdir / "teachers/base" / name, inputs))
"""


def test_one_of_two_processes_takes_and_both_see_it(workdir, tmp_path):
    for status, told, errors in in_two(TAKE, str(workdir), str(tmp_path / "other"), str(TINY)):
        assert status == 0, errors
        assert told == ["owl True", "wolf False"]
