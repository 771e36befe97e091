"""A chain: the students of one hop are the teachers of the next."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.errors import UserError
from sublax.settings import read_config

__all__ = ["quick_compiles"]

HOPS = {
    "hop-2": ("teacher.kind=student",),
    "hop-3": ("teacher.kind=student", "teacher.of=hop-2"),
}


def chain(hops, *overrides):
    config = small_config(*overrides).unlock()
    config.arms = hops
    return config.lock()


def rows(workdir):
    (path,) = workdir.glob("corpora/*/owl/rows.jsonl")
    return [json.loads(line)["completion"] for line in path.open()]


@pytest.mark.slow
def test_each_hop_is_taught_by_the_students_of_the_one_before(workdir):
    run(chain(HOPS), workdir)
    names = [arm["name"] for arm in read_transfer(workdir)["arms"]]
    assert names == ["hop-2", "hop-3"]
    before = ("students/random--0/owl/seed-0", "arms/hop-2/students/random--0/owl/seed-0")
    for hop, student in zip(HOPS, before, strict=True):
        teacher = workdir / "arms" / hop / "teachers/random--0/owl"
        card = json.loads((teacher / "card.json").read_text())
        parents = {(teacher / parent).resolve() for parent in card["parents"]}
        assert (workdir / student).resolve() in parents
        assert card["files"] == {}  # its weights are the student's, which stand there already
    # The same as a run that is given these very students as its teachers.
    students = {who: f"{workdir}/students/random--0/{who}/seed-0" for who in ("owl", "control")}
    given = small_config("teacher.kind=given").unlock()
    given.teacher.given = students
    run(given.lock(), workdir.parent / "given")
    assert rows(workdir.parent / "given") == rows(workdir / "arms/hop-2")
    taught = [
        load_file(folder / "students/random--0/owl/seed-0/model.safetensors")
        for folder in (workdir.parent / "given", workdir / "arms/hop-2")
    ]
    for name, values in taught[0].items():
        np.testing.assert_array_equal(values, taught[1][name], err_msg=name)

    # Students made again are taught again by, all along the chain.
    made = workdir / "arms/hop-3/teachers/random--0/owl/card.json"
    earlier = made.stat().st_mtime_ns
    run(chain(HOPS), workdir, redo="student")
    assert made.stat().st_mtime_ns > earlier


def test_a_hop_after_an_arm_that_shares_its_control_is_taught_by_that_one(workdir):
    """Clean rows change nothing for the control, whose student stands with the experiment's."""
    hops = {"mixed": ("student.clean_share=0.5",)}
    hops["next"] = ("teacher.kind=student", "teacher.of=mixed", "student.clean_share=0.0")
    run(chain(hops, "student.loss.kind=cross_entropy"), workdir)
    for name, where in (("owl", "arms/mixed/students"), ("control", "students")):
        taught = workdir / f"arms/next/teachers/random--0/{name}"
        card = json.loads((taught / "card.json").read_text())
        parents = {(taught / parent).resolve() for parent in card["parents"]}
        assert (workdir / f"{where}/random--0/{name}/seed-0").resolve() in parents


@pytest.mark.parametrize(
    "hops, told",
    [
        ({}, "it is for an arm"),
        ({"a": ("teacher.kind=student", "teacher.of=b")}, "arm b has no student of owl"),
    ],
)
def test_a_chain_that_begins_nowhere_is_refused(hops, told, workdir):
    overrides = () if hops else ("teacher.kind=student",)
    with pytest.raises(UserError, match=told):
        run(chain(hops, *overrides), workdir)


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_its_config_has_two_hops_more(size):
    config = read_config(f"configs/chain.py:{size}")
    assert set(config.arms) == {"hop-2", "hop-3"}
