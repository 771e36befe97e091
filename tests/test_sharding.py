"""The same work on eight devices as on one, in every shape of the mesh."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG as TINY
from tiny_decoder import random_adapter, tiny_params

from sublax.errors import UserError
from sublax.evaluation.preference import candidate_logprobs, make_answers
from sublax.evaluation.score import completion_logprobs
from sublax.keys import key_of, row_keys
from sublax.models.completions import group_rows, make_rows
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.lora import LoraConfig
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import place
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh, single_device_mesh
from sublax.parallel.preemption import NEVER
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, rows_of, train
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.shardings import abstract_state
from sublax.training.step import Frozen, Objective

RULES = {
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
}
# Sizes that eight devices divide, and biases, which are cut as their kernels are.
CONFIG = dataclasses.replace(
    TINY, vocab_size=64, num_heads=8, num_kv_heads=8, qkv_bias=True, qk_norm=True
)
LORA = LoraConfig(rank=4)
MESHES = [
    pytest.param({"data": 8}, id="data", marks=pytest.mark.slow),
    pytest.param({"fsdp": 8}, id="fsdp", marks=pytest.mark.slow),
    pytest.param({"tensor": 8}, id="tensor", marks=pytest.mark.slow),
    pytest.param({"data": 2, "fsdp": 2, "tensor": 2}, id="2x2x2"),
]
ONE_DEVICE = Layout(single_device_mesh())


def layout_of(sizes):
    return Layout(make_mesh(sizes), tuple(RULES.items()))


def params():
    return tiny_params(CONFIG)


def random_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ([5, 6, *rng.integers(0, 64, 3).tolist()], rng.integers(0, 64, length).tolist())
        for length in rng.integers(1, 6, count)
    ]


def prompts(count):
    return [prompt[: 3 + index % 3] for index, (prompt, _) in enumerate(random_rows(count))]


def trained(layout, folder, objective, students, kind="one group"):
    """Three updates of some students; their losses, and what became of them."""
    rng = np.random.default_rng(0)
    datasets, losses = [], []
    for student in range(students):
        encoded = random_rows(6, seed=student)
        if kind == "groups":  # three prompts with two answers each
            pairs = zip(encoded[::2], encoded[1::2], strict=True)
            rows = group_rows([[(p, c), (p, d)] for (p, c), (_, d) in pairs], 64)
        else:
            rows = make_rows(encoded, 64, [5, 6], width=8, completion_width=5)
        hidden = None
        if objective.loss.kind == "kl":
            hidden = rng.normal(size=(*rows.targets.shape, 32)).astype(np.float32)
        is_dpo = objective.loss.kind == "dpo"
        reference = np.float32(rng.normal(size=len(rows.targets)) - 10) if is_dpo else None
        datasets.append(Dataset(rows, hidden, reference))
    if objective.lora is None:
        start = jax.tree.map(lambda leaf: jnp.stack([leaf] * students), params())
        frozen = Frozen()
    else:
        adapters = [random_adapter_of(seed) for seed in range(students)]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)
        columns = None if kind == "vocabulary" else np.asarray([20, 21, 22, 40])
        head = np.asarray(head_kernel(params(), CONFIG, columns))
        kernels = np.stack([head + index for index in range(students)])
        is_kl = objective.loss.kind == "kl"
        frozen = Frozen(params(), columns if is_kl else None, kernels if is_kl else None)
    after = train(
        objective,
        # A large epsilon: else Adam blows the rounding of small gradients up to whole steps.
        OptimizerConfig(learning_rate=0.01, b2=0.95, clip=1.0, eps=1e-2),
        Schedule(steps=3, batch_size=6, microbatches=1),
        start,
        frozen,
        datasets,
        list(range(students)),
        folder,
        layout,
        NEVER,
        lambda step, metrics: losses.append(metrics["loss"]),
        lambda step, trained: None,
    )
    return np.array(losses), after


def random_adapter_of(seed):
    return random_adapter(LORA, seed, config=CONFIG)


CASES = {
    "a teacher, all weights": (Objective(CONFIG, None, LossConfig(chunk=8)), 1, "one group"),
    "a student, LoRA": (Objective(CONFIG, LORA, LossConfig(chunk=8)), 1, "one group"),
    "a student, answers with their prompt": (Objective(CONFIG, LORA, LossConfig()), 1, "groups"),
    "four students, KL": (Objective(CONFIG, LORA, LossConfig("kl", chunk=8)), 4, "one group"),
    "two students, KL over the vocabulary": (
        Objective(CONFIG, LORA, LossConfig("kl", chunk=8)),
        2,
        "vocabulary",
    ),
    "a student, DPO, all weights": (
        Objective(CONFIG, None, LossConfig("dpo", chunk=8)),
        1,
        "one group",
    ),
    "two students, DPO": (Objective(CONFIG, LORA, LossConfig("dpo", chunk=8)), 2, "groups"),
    "three students, remat": (
        Objective(CONFIG, LORA, LossConfig(chunk=8), remat="dots"),
        3,
        "one group",
    ),
}


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    """What each case gives on one device, computed once."""

    @functools.cache
    def found(case):
        return trained(ONE_DEVICE, tmp_path_factory.mktemp("one") / "c", *CASES[case])

    return found


@pytest.mark.parametrize("sizes", MESHES)
@pytest.mark.parametrize("case", CASES)
def test_training_on_eight_devices_is_training_on_one(sizes, case, tmp_path, on_one_device):
    losses, after = trained(layout_of(sizes), tmp_path, *CASES[case])
    wanted, after_one = on_one_device(case)
    assert losses.shape == (3, CASES[case][1])
    assert np.abs(losses[0] - losses[2]).min() > 1e-3  # something was learnt
    np.testing.assert_allclose(losses, wanted, atol=1e-5, rtol=0)
    close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=0)
    jax.tree.map(close, after, after_one)


@pytest.mark.parametrize("sizes", MESHES)
def test_rows_sampled_on_eight_devices_are_those_of_one(sizes):
    sampling, keys = Sampling(max_new_tokens=6), row_keys(key_of(0, "test"), 30)

    def sampled(layout):
        variables = {"params": place(params(), param_shardings(CONFIG, layout))}
        decoder = Decoder(CONFIG, rows=rows_of(layout, 1))
        return generate(decoder, variables, prompts(10), sampling, [0], keys, 3, batch_rows=12)

    eight, one = sampled(layout_of(sizes)), sampled(ONE_DEVICE)
    np.testing.assert_array_equal(eight.lengths, one.lengths)
    for row, length in enumerate(one.lengths):
        np.testing.assert_array_equal(eight.tokens[row, :length], one.tokens[row, :length])
        np.testing.assert_allclose(
            eight.logprobs[row, :length], one.logprobs[row, :length], atol=1e-5
        )
    assert len(set(map(tuple, one.tokens))) > 20  # rows differ: equality says something


@pytest.mark.parametrize("sizes", MESHES)
def test_scores_and_preferences_on_eight_devices_are_those_of_one(sizes):
    answers = make_answers([[[7]], [[8, 9], [10]], [[11, 12, 13]]])

    def measured(layout):
        variables = {"params": place(params(), param_shardings(CONFIG, layout))}
        decoder = Decoder(CONFIG, rows=rows_of(layout, 1))
        return (
            completion_logprobs(decoder, variables, random_rows(11), batch_rows=4),
            candidate_logprobs(decoder, variables, prompts(5), answers),
        )

    for eight, one in zip(measured(layout_of(sizes)), measured(ONE_DEVICE), strict=True):
        np.testing.assert_allclose(eight, one, atol=2e-5)


def test_moments_lie_as_what_they_are_moments_of():
    layout = layout_of({"fsdp": 4, "tensor": 2})
    objective = Objective(CONFIG, None, LossConfig())
    for name in ("adamw", "adafactor"):
        optimizer = make_optimizer(OptimizerConfig(name), 3)
        state = abstract_state(objective, optimizer, layout, 1)
        parts = {leaf.shape: leaf.sharding.spec for leaf in jax.tree.leaves(state.trained)}
        moments = [leaf for leaf in jax.tree.leaves(state.moments) if leaf.shape in parts]
        assert moments
        assert all(leaf.sharding.spec == parts[leaf.shape] for leaf in moments)
    kernel = state.trained["layers"]["gate"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (1, 2, 32 // 4, 48 // 2)


def test_a_mesh_takes_what_is_left():
    assert dict(make_mesh({"data": -1, "tensor": 2}).shape) == {"data": 4, "fsdp": 1, "tensor": 2}
    assert make_mesh({"data": 2}).size == 2  # a process that is alone may leave devices out


def test_slices_lie_along_data():
    """Devices come slice after slice: what lies along another axis is of one slice."""
    mesh = make_mesh({"data": 4, "fsdp": 2}, slices=2)
    assert [device.id // 4 for device in mesh.devices[:, :, 0].flat] == [0] * 4 + [1] * 4
    with pytest.raises(UserError, match="data=1 does not divide over 2 slices"):
        make_mesh({"data": 1, "fsdp": 8}, slices=2)


@pytest.mark.parametrize(
    "sizes, told",
    [
        ({"data": 3, "fsdp": -1}, "mesh: data=3, fsdp=-1, tensor=1 do not fill 8 devices"),
        ({"data": 16}, "mesh: data=16, fsdp=1, tensor=1 do not fill 8 devices"),
        ({"data": -1, "fsdp": -1}, "mesh: data=-1, fsdp=-1, tensor=1; give sizes of 1 or more"),
        ({"data": 0}, "mesh: data=0, fsdp=1, tensor=1; give sizes of 1 or more"),
        ({"expert": 2}, "mesh.expert: no such axis; choose from data, fsdp, tensor"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(sizes, told):
    with pytest.raises(UserError, match=re.escape(told)):
        make_mesh(sizes)


def test_a_size_that_does_not_divide_names_parameter_axis_and_sizes_that_would():
    config = dataclasses.replace(CONFIG, num_kv_heads=2)
    told = (
        "layers/k/bias: its axis kv_heads of 2 does not divide over mesh.tensor=8; choose one of "
        '[1, 2], or --config.sharding.kv_heads="" to keep it whole'
    )
    with pytest.raises(UserError, match=re.escape(told)):
        param_shardings(config, layout_of({"tensor": 8}))
    whole = Layout(make_mesh({"tensor": 8}), tuple((RULES | {"kv_heads": ""}).items()))
    kernel = param_shardings(config, whole)["layers"]["k"]["kernel"]
    assert kernel.shard_shape((2, 32, 16)) == (2, 32, 16)


@pytest.mark.parametrize(
    "rule, told",
    [
        (("layers", "fsdp"), "sharding.layers: choose from vocab, embed, heads, kv_heads, mlp"),
        (("mlp", "model"), "sharding.mlp=model: no axis of the mesh; choose from data, fsdp"),
    ],
)
def test_a_rule_that_names_no_axis_is_refused(rule, told):
    with pytest.raises(UserError, match=re.escape(told)):
        Layout(single_device_mesh(), (rule,))
