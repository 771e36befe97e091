"""An update's program: no work that the model does not ask for, and no model gathered whole."""

import functools

import jax
import pytest

from sublax.models.hf_config import decoder_config
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.planning.model_flops import adapter_flops
from sublax.planning.plan import measure
from sublax.planning.program import Lengths
from sublax.planning.programs import Planner
from sublax.planning.topology import machine_of
from sublax.settings import lora_config, read_config

# Large enough that products with the layers' weights are nearly all of the work.
SHAPE = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
    "max_position_embeddings": 1024,
}
ROWS = {
    "student.students_per_program": 1,
    "student.batch_size": 16,
    "student.loss.kind": "cross_entropy",
    "student.share_prompts": "false",
    "corpus.max_new_tokens": 96,
}


@functools.cache
def planned_update(topology, method, remat, **others):
    """What the plan says of one student's update; (measured, the planner)."""
    jax.devices()  # all eight are up: a plan cannot ask for more
    chosen = ROWS | {"student.method": method, "remat": remat}
    chosen |= {key.replace("__", "."): value for key, value in others.items()}
    config = read_config("configs/tiny.py", [f"{key}={value}" for key, value in chosen.items()])
    machine = machine_of(topology)
    mesh = make_mesh({"data": machine.slices, "fsdp": -1}, machine.devices, machine.slices)
    layout = Layout(mesh, tuple(sorted(config.sharding.items())))
    shape = decoder_config(SHAPE, "SHAPE")
    planner = Planner(config, shape, layout, machine.chip, Lengths(prompt=32))
    return measure(planner.student(), layout, machine), planner


def needs_libtpu(topology):
    if "cpu" not in topology:
        pytest.importorskip("libtpu", reason="libtpu, which compiles for TPUs, is not installed")


MOST = [
    # Forward, and backward to activations and weights: 2 + 4 parts.
    ("full", "none", 1.10),
    ("full", "dots", 1.15),
    ("full", "full", 1.40),  # 2 + 4 + 2 parts are 1.33
    # A frozen weight has no gradient: 2 + 2 parts.
    ("lora", "none", 1.10),
    ("lora", "dots", 1.15),
    ("lora", "full", 1.60),  # 2 + 2 + 2 are 1.5
]


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["cpu:8", "v5e:2x4"])
@pytest.mark.parametrize("method, remat, most", MOST)
def test_an_update_computes_what_the_model_asks_for(topology, method, remat, most):
    needs_libtpu(topology)
    measured, _ = planned_update(topology, method, remat)
    assert 0.95 < measured["flops_ratio"] < most


@pytest.mark.slow
def test_packed_rows_as_long_as_they_may_be_are_a_line_each():
    apart, _ = planned_update("cpu:8", "lora", "none")
    packed, _ = planned_update("cpu:8", "lora", "none", student__pack_rows="true")
    assert packed["flops"] == pytest.approx(apart["flops"], rel=0.01)
    assert packed["bytes"] > apart["bytes"]  # which row a token is of


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["cpu:8", "v5e:2x4"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_no_more_is_gathered_outside_the_layers_than_the_tables(topology, method):
    """Layers are gathered one at a time, in the loop over them; embedding and head are tables."""
    needs_libtpu(topology)
    measured, planner = planned_update(topology, method, "dots")
    tables = 2 * SHAPE["vocab_size"] * SHAPE["hidden_size"] * planner.dtype.itemsize
    layers = model_bytes(planner) - tables
    assert tables < layers / 4  # else the next line would say nothing
    assert measured["gathered_outside_loops"] < 1.1 * tables
    assert measured["collectives"]["all-gather"]["bytes"] > layers  # in the loop


@pytest.mark.slow
def test_the_head_s_gradient_is_summed_once_for_each_device_s_own_chunks():
    """A chunk is of one device's positions: eight devices have eight times as many at a time."""
    own = ROWS["student.batch_size"] * ROWS["corpus.max_new_tokens"] // 8
    whole, planner = planned_update("cpu:8", "full", "dots")
    once, _ = planned_update("cpu:8", "full", "dots", student__loss__chunk=own)
    twice, _ = planned_update("cpu:8", "full", "dots", student__loss__chunk=own // 2)
    summed = [one["collectives"]["all-reduce"]["bytes"] for one in (whole, once, twice)]
    head = SHAPE["vocab_size"] * SHAPE["hidden_size"] * planner.dtype.itemsize
    assert summed[1] == pytest.approx(summed[0], rel=0.001)
    assert summed[2] > summed[0] + head / 2


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["2xcpu:4", "2xv5e:2x2"])
def test_between_slices_go_the_adapter_s_gradients_and_no_weights(topology):
    needs_libtpu(topology)
    measured, planner = planned_update(topology, "lora", "dots")
    crossing = measured["between_slices"]
    adapter = 4 * adapter_parameters(planner)
    # Float32 or bfloat16, and a device sums its own part, a fourth, or all where nothing cuts it.
    assert adapter / 10 < crossing["all-reduce"]["bytes"] < 1.2 * adapter
    assert sum(kind["bytes"] for kind in crossing.values()) < model_bytes(planner) / 20
    if "cpu" not in topology:
        # What XLA cuts for CPUs also looks tokens up for both slices at once.
        assert set(crossing) == {"all-reduce"}


def model_bytes(planner):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(planner.params))


def adapter_parameters(planner):
    lora: LoraConfig = lora_config(planner.config.student.lora)
    return adapter_flops(planner.shape, lora) / 2  # a parameter multiplies and adds once a token
