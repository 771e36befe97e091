"""`sublax plan`: whole plans of a config, and what a user is told."""

import json
import os
import pathlib
import types
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from sublax.cli import main
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.planning.compiled import compiled
from sublax.planning.plan import make_plan, misfits, table
from sublax.planning.program import Program
from sublax.planning.topology import CHIPS, Machine, larger, machine_of
from sublax.verbs import plan as verb

ROOT = pathlib.Path(__file__).parents[1]
TINY = f"--config={ROOT / 'configs' / 'tiny.py'}"


def planned(capsys, *arguments, status=0):
    jax.devices()  # all eight are up, whichever test comes first: a plan cannot ask for more
    assert main(["plan", *arguments]) == status
    return capsys.readouterr()


@pytest.fixture
def quick():
    """Programs that run nowhere need not be good ones."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
def test_a_plan_names_every_program_of_the_run(capsys, quick):
    overrides = ["--config.mesh.data=2", "--config.mesh.fsdp=4", "--config.evaluation.samples=4"]
    told = planned(capsys, TINY, "--topology=cpu:8", "--json", *overrides)
    plan = json.loads(told.out)
    names = ["teacher update", "corpus", "student update", "answers", "score"]
    assert [one["program"] for one in plan["programs"]] == names
    assert plan["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert plan["fits"] is None  # nobody has published what a CPU is
    by_name = {one["program"]: one for one in plan["programs"]}
    assert by_name["corpus"]["memory"]["cache"] > 0
    assert by_name["teacher update"]["collectives"]
    # Rows are filled up and words padded, but nothing is computed several times over.
    assert all(0.9 < one["flops_ratio"] < 2.5 for one in plan["programs"])
    assert "compiling score (5 of 5, about" in told.err


@pytest.mark.slow
def test_labels_are_planned_as_they_are_run(capsys, quick):
    """The base alone writes, all models read every answer, and a pair is two rows."""
    found = []
    for labels in ("none", "chosen"):
        loss = "dpo" if labels == "chosen" else "cross_entropy"
        overrides = [f"--config.corpus.labels={labels}", f"--config.student.loss.kind={loss}"]
        told = planned(
            capsys, TINY, "--topology=cpu:1", "--config.mesh.data=1", "--json", *overrides
        )
        found.append({one["program"]: one for one in json.loads(told.out)["programs"]})
    rows, pairs = found
    assert rows["corpus"]["runs"] == 4 * pairs["corpus"]["runs"]
    assert "labels" not in rows and pairs["labels"]["runs"] == 6 * 512 // 32
    rows, pairs = rows["student update"], pairs["student update"]
    asked = [update["flops"] / update["flops_ratio"] for update in (rows, pairs)]
    assert np.isclose(asked[1], 2 * asked[0], rtol=1e-3)
    # Logits are made once more for the backward pass.
    assert rows["flops_ratio"] < 1.1 < pairs["flops_ratio"] < 1.25


@pytest.mark.slow
def test_more_students_at_a_time_mean_fewer_runs_of_more_work(capsys, quick):
    found = []
    for students in (1, 4):
        overrides = [f"--students={students}", "--config.mesh.data=1", "--json"]
        plan = json.loads(planned(capsys, TINY, "--topology=cpu:1", *overrides).out)
        found.append(next(p for p in plan["programs"] if p["program"] == "student update"))
    one, four = found
    assert one["runs"] == 4 * four["runs"]
    assert four["memory"]["optimizer"] == 4 * one["memory"]["optimizer"]
    assert np.isclose(four["flops"], 4 * one["flops"], rtol=0.01)


def test_a_plan_is_a_table(capsys, quick):
    told = planned(capsys, TINY, "--topology=cpu:1", "--config.mesh.data=1").out
    assert told.startswith("cpu:1: 1 devices, mesh data 1, fsdp 1, tensor 1")
    assert told.count("\n|") == 6


@pytest.mark.parametrize(
    "program, weights, told",
    [
        ("student update", 1, "most of it scratch; set remat=full"),
        ("corpus", 1, "most of it scratch; set a smaller corpus.batch_rows"),
        ("answers", 1, "most of it scratch; take a larger slice"),
        # Nothing else helps where the weights alone leave no room.
        ("student update", 15, "much of it weights; cut them by a larger mesh.fsdp"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_change(program, weights, told):
    memory = {"weights": weights * 2**30, "scratch": 20 * 2**30, "total": (20 + weights) * 2**30}
    plan = {
        "chip": {"memory": CHIPS["v5e"].memory},
        "programs": [{"program": program, "fits": False, "memory": memory}],
    }
    (line,) = misfits(plan)
    assert line.startswith(f"{program}: {20 + weights}.0 GiB of 16 GiB, {told}")


class TooLarge:
    """A program that libtpu gives up, in its words."""

    def compile(self):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (19.88G) exceeds available HBM (15.75G)."
        )


def test_what_the_compiler_gives_up_does_not_fit_and_is_planned_all_the_same(capsys):
    layout = Layout(make_mesh({"data": 1}))
    program = Program("teacher update", TooLarge, 1e12, 10, {"weights": 2**30}, about="8 rows")
    machine = Machine(list(layout.mesh.devices.flat), CHIPS["v5e"])
    plan = make_plan([program], layout, machine, "v5e:1x1", print)
    assert plan["fits"] is False
    (line,) = misfits(plan)
    assert line.startswith("teacher update: 20.9 GiB of 16 GiB, most of it scratch; set remat=full")
    assert "| 20.88 (too much) | - | - | - | - | - | 10 |" in table(plan)


def test_a_search_goes_on_to_the_smallest_slice_that_fits(capsys, monkeypatch):
    tried = []

    def machine(topology):
        tried.append(topology)
        return Machine(jax.devices()[:1], CHIPS["v5e"])

    def planner(*_):
        fits = tried[-1] == "v5e:4x4"
        lower = jax.jit(lambda x: x @ x).lower(np.ones((8, 8), np.float32))
        program = Program("score", (lambda: lower) if fits else TooLarge, 1024.0, 1, {})
        return types.SimpleNamespace(programs=[program])

    monkeypatch.setattr(verb, "machine_of", machine)
    monkeypatch.setattr(verb, "Planner", planner)
    one = ["--config.mesh.data=1", "--search"]
    told = planned(capsys, TINY, "--topology=v5e:2x2", *one, status=1).out
    assert tried == ["v5e:2x2", "v5e:2x4", "v5e:4x4"]
    assert "The smallest that fits:\n\nv5e:4x4" in told


class Once:
    """A lowered program that compiles once."""

    def __init__(self):
        self.lowered = jax.jit(lambda x: x @ x).lower(np.ones((64, 64), np.float32))
        self.left = 1

    def as_text(self):
        return self.lowered.as_text()

    def compile(self):
        self.left -= 1
        assert self.left == 0, "compiled twice"
        return self.lowered.compile()


def test_what_is_kept_is_not_compiled_again(tmp_path):
    program = Once()
    first = compiled(program, jax.devices()[:1], tmp_path / "kept")
    assert first.text and first.total
    assert compiled(program, jax.devices()[:1], tmp_path / "kept") == first
    with pytest.raises(AssertionError, match="compiled twice"):  # for others it would be another
        compiled(program, jax.devices()[:2], tmp_path / "kept")


@pytest.mark.parametrize(
    "topology, told",
    [
        ("v9:4x4", "--topology=v9:4x4: give a slice, such as v5e:4x4"),
        ("v5e", "--topology=v5e: give a slice"),
        ("cpu:0", "--topology=cpu:0: give a slice"),
        ("cpu:99", "--topology=cpu:99: this process has"),
        ("2xcpu:9", "--topology=2xcpu:9: this process has"),
        ("0xv5e:4x4", "--topology=0xv5e:4x4: give a slice"),
        ("h100:8", "--topology=h100:8: GPUs are compiled for where they are, and here is no GPU"),
        ("2xcpu:4", "mesh: data=1 does not divide over 2 slices"),
    ],
)
def test_a_topology_that_is_not_one_is_told_in_a_line(topology, told, capsys):
    mesh = ["--config.mesh.data=1", "--config.mesh.fsdp=-1"]
    error = planned(capsys, TINY, f"--topology={topology}", *mesh, status=2).err
    assert error.startswith(f"sublax: {told}")
    assert error.count("\n") == 1


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_it_is_told_how_to_get_it(capsys):
    before = dict(os.environ)
    error = planned(capsys, TINY, "--topology=v5e:4x4", status=2).err
    assert os.environ == before  # what libtpu is told would make a run look for a cluster
    assert "libtpu compiles for TPUs and is not installed; pip install 'sublax[plan]'" in error
    assert error.count("\n") == 1


def test_larger_slices_come_the_smallest_first():
    assert larger("v5e:8x8") == ["v5e:8x16", "v5e:16x16"]
    assert larger("2xv5e:8x8") == ["2xv5e:8x16", "2xv5e:16x16"]
    assert larger("cpu:8") == []


def test_a_slice_has_a_device_a_chip():
    pytest.importorskip("libtpu", reason="libtpu is not installed")
    before = dict(os.environ)
    machine = machine_of("v5e:2x4")
    assert os.environ == before  # what libtpu is told would make a run look for a cluster
    assert (len(machine.devices), machine.devices[0].device_kind) == (8, machine.chip.kind)


def test_slices_of_tpus_lie_along_data():
    pytest.importorskip("libtpu", reason="libtpu is not installed")
    machine = machine_of("2xv5e:2x2")
    mesh = make_mesh({"data": 4, "fsdp": 2}, machine.devices)
    rows = [{device.slice_index for device in row} for row in mesh.devices[:, :, 0]]
    assert rows == [{0}, {0}, {1}, {1}]
