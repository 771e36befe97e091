"""Packed rows: several in one line, and every loss and gradient that of the row alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_decoder import CONFIG, random_adapter, tiny_params

from sublax.models.attention import NO_WINDOW, attend, context_of
from sublax.models.attention_backends import Attention, attend_by
from sublax.models.completions import completion_hidden, make_rows, token_logprobs
from sublax.models.cudnn import cudnn_attention
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh, single_device_mesh
from sublax.parallel.preemption import NEVER
from sublax.training.data import Dataset, draw_order, make_batch, plan_packing
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.training.packing import Packing, first_fit_decreasing, needed, pack
from sublax.training.step import Batch, Frozen, Objective, loss_sum

LORA = LoraConfig(rank=2, targets=("q", "v", "o"))
SPLASH = Attention("splash", interpret=True)
EIGHT = Layout(
    make_mesh({"data": 2, "fsdp": 2, "tensor": 2}), (("heads", "tensor"), ("kv_heads", "tensor"))
)


def random_rows(count, seed=0):
    """Rows of 3 to 14 tokens that begin alike."""
    rng = np.random.default_rng(seed)
    return [
        ([5, 6, *rng.integers(0, 50, rng.integers(1, 5)).tolist()], rng.integers(0, 50, n).tolist())
        for n in rng.integers(1, 9, count)
    ]


def dataset_of(count, seed=0, prefix=None):
    rows = make_rows(random_rows(count, seed), 64, prefix, width=13, completion_width=8)
    hidden = np.random.default_rng(seed).normal(size=(*rows.targets.shape, 16))
    return Dataset(rows, hidden.astype(np.float32))


def packed(dataset):
    """(all rows of a dataset in lines, their teacher's hidden states)."""
    every = np.arange(len(dataset))
    return pack(dataset.rows, dataset.teacher_hidden, every, needed(dataset.rows, every))


def test_the_longest_goes_first_into_the_first_bin_with_room():
    assert first_fit_decreasing([2, 7, 3, 5, 1, 8], capacity=10) == [[5, 0], [1, 2], [3, 4]]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_every_item_has_its_place_and_no_earlier_bin_had_room(lengths):
    bins = first_fit_decreasing(lengths, 20)
    assert sorted(item for bin_ in bins for item in bin_) == list(range(len(lengths)))
    filled = [sum(lengths[item] for item in bin_) for bin_ in bins]
    assert max(filled) <= 20
    for later, bin_ in enumerate(bins):
        assert all(filled[b] + min(lengths[i] for i in bin_) > 20 for b in range(later))


def test_rows_in_a_line():
    """Positions count per row, from after the shared prefix; a line has its rows' targets."""
    rows = make_rows([([1, 2, 3, 4], [5, 6]), ([1, 2, 7], [8]), ([1, 2, 9], [3, 8])], 64, width=4)
    lines, hidden = pack(rows, np.arange(6.0).reshape(3, 2, 1), np.arange(3), Packing(3, 3))
    assert {name: np.asarray(leaf).tolist() for name, leaf in vars(lines).items()} == {
        "prefix": [[1, 2]],
        "prefix_positions": [[0, 1]],
        "tokens": [[3, 4, 5, 7], [9, 3, 0, 0], [0, 0, 0, 0]],
        "positions": [[2, 3, 4, 2], [2, 3, -1, -1], [-1, -1, -1, -1]],
        "at": [[1, 2, 3], [0, 1, 0], [0, 0, 0]],
        "targets": [[5, 6, 8], [3, 8, 0], [0, 0, 0]],
        "weights": [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
        "row_of": [[1, 1, 1, 2], [1, 1, 0, 0], [0, 0, 0, 0]],
    }
    assert hidden[..., 0].tolist() == [[0, 1, 2], [4, 5, 0], [0, 0, 0]]


WINDOWED = dataclasses.replace(CONFIG, sliding_windows=(3, None))
CASES = {
    "a shared beginning": (Decoder(CONFIG, LORA), None),
    "nothing shared": (Decoder(CONFIG, LORA), []),
    "a sliding window": (Decoder(WINDOWED, LORA), None),
    "splash": (Decoder(CONFIG, LORA, attention=SPLASH), []),
}


@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_are_those_of_the_row_alone_position_by_position(case):
    decoder, prefix = CASES[case]
    # Not seed 0: rounding each parameter once the other way moves a row of it by 3.3e-5.
    dataset = dataset_of(9, seed=3, prefix=prefix)
    lines, _ = packed(dataset)
    assert len(lines.tokens) < 7  # lines do hold several rows
    params = tiny_params(decoder.config)
    variables = {"params": params, "lora": random_adapter(LORA)}
    alone = dataclasses.replace(decoder, attention=Attention())

    @functools.partial(jax.jit, static_argnums=0)
    def logprobs_of(decoder, rows):
        hidden = completion_hidden(decoder, variables, rows)
        return token_logprobs(hidden, head_kernel(params, decoder.config), rows.targets)[0]

    wanted = np.asarray(logprobs_of(alone, dataset.rows))
    got = np.asarray(logprobs_of(decoder, lines))
    counts = dataset.rows.weights.sum(axis=1).astype(int)
    lengths = (dataset.rows.positions >= 0).sum(axis=1)
    for line, members in enumerate(first_fit_decreasing(lengths, 13)):
        of_rows = np.concatenate([wanted[row, : counts[row]] for row in members])
        np.testing.assert_allclose(got[line, : len(of_rows)], of_rows, atol=1e-5)


@pytest.mark.parametrize("kind", ["cross_entropy", "kl"])
def test_losses_and_gradients_are_those_of_unpacked_rows(kind):
    """Of KL too: the teacher's hidden states move with the positions that they belong to."""
    dataset = dataset_of(9)
    objective = Objective(CONFIG, LORA, LossConfig(kind))
    kernel = np.random.default_rng(1).normal(size=(16, 50)).astype(np.float32)
    frozen = Frozen(tiny_params(), teacher_kernel=kernel)
    run = jax.jit(
        jax.value_and_grad(lambda adapter, batch: loss_sum(objective, adapter, frozen, batch)[0])
    )
    wanted = run(random_adapter(LORA), Batch(dataset.rows, dataset.teacher_hidden))
    got = run(random_adapter(LORA), Batch(*packed(dataset)))
    assert all(float(jnp.abs(leaf).max()) > 1 for leaf in jax.tree.leaves(wanted))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, got, wanted)


def test_a_row_is_not_touched_by_what_stands_beside_it():
    """Gradients of one row's outputs, in all tokens of its line: zero outside it."""
    B, T, H, K, h = 1, 6, 2, 1, 8
    row_of = np.asarray([[1, 1, 1, 2, 2, 0]])
    positions = np.asarray([[0, 1, 2, 0, 1, -1]], np.int32)

    def second_row(v):
        draw = np.random.default_rng(0).normal
        q, k = jnp.asarray(draw(size=(B, T, H, h))), jnp.asarray(draw(size=(B, K, h, T)))
        return attend(q, positions, [(k, v, positions)], NO_WINDOW, row_of)[0, 3:5].sum()

    gradient_T = jnp.abs(jax.grad(second_row)(jnp.ones((B, K, T, h))))[0, 0].max(axis=-1)
    assert (np.asarray(gradient_T) > 0).tolist() == [False, False, False, True, True, False]


def test_cudnn_is_handed_who_sees_what():
    """Its arguments, run by the plain implementation of the same function of jax."""
    rng, (B, T, P, K, h) = np.random.default_rng(0), (2, 5, 3, 1, 8)
    positions = np.asarray([[3, 4, 3, 4, 5], [3, 4, 5, 3, -1]], np.int32)
    row_of = np.asarray([[1, 1, 2, 2, 2], [1, 1, 1, 2, 0]])
    q = jnp.asarray(rng.normal(size=(B, T, 2, h)), jnp.float32)
    segments = [
        (
            jnp.asarray(rng.normal(size=(b, K, h, S)), jnp.float32),
            jnp.asarray(rng.normal(size=(b, K, S, h)), jnp.float32),
            at,
        )
        for b, S, at in [(1, P, np.arange(P, dtype=np.int32)[None]), (B, T, positions)]
    ]
    wanted = attend(q, positions, segments, NO_WINDOW, row_of)
    keys, values, slots = context_of(segments, B)
    got = cudnn_attention(q, positions, keys, values, slots, NO_WINDOW, row_of, "xla")
    real = positions >= 0
    np.testing.assert_allclose(got.reshape(B, T, -1)[real], wanted[real], atol=1e-5)
    with pytest.raises(ValueError, match="only where they share no beginning"):
        attend_by(SPLASH, None, q, positions, segments, NO_WINDOW, row_of)


@pytest.mark.parametrize("devices", [1, 4])
def test_one_shape_holds_every_update_of_a_run(devices):
    """And nothing drawn is lost, nothing counted twice."""
    datasets, seeds, shapes = [dataset_of(11), dataset_of(7, seed=1)], [0, 3], set()
    packing = plan_packing(datasets, seeds, 6, 8, 2, devices)
    for step in range(6):
        batch = make_batch(datasets, seeds, step, 8, 2, devices, packing)
        shapes.add((batch.rows.tokens.shape, batch.rows.targets.shape, batch.teacher_hidden.shape))
        assert batch.rows.prefix.shape == (2, 2, devices, 2)
        for student, (dataset, seed) in enumerate(zip(datasets, seeds, strict=True)):
            drawn = draw_order(seed, step, 8, len(dataset)).reshape(2, -1)
            for piece, rows in enumerate(drawn):
                is_target = batch.rows.weights[student, piece] > 0
                got = np.sort(batch.rows.targets[student, piece][is_target])
                wanted = dataset.rows.targets[rows][dataset.rows.weights[rows] > 0]
                np.testing.assert_array_equal(got, np.sort(wanted))
    ((tokens, _, _),) = shapes
    assert tokens == (2, 2, packing.lines, 13) and packing.lines % devices == 0


def trained(layout, folder, students, kind, pack_rows, attention=Attention()):  # noqa: B008
    """Losses of three updates of some students, and what became of them."""
    losses = []
    prefix = [] if attention.name == "splash" else None
    datasets = [dataset_of(9 + student, student, prefix) for student in range(students)]
    if kind == "cross_entropy":
        datasets = [Dataset(dataset.rows) for dataset in datasets]
    adapters = [random_adapter(LORA, seed) for seed in range(students)]
    kernel = np.random.default_rng(1).normal(size=(students, 16, 50)).astype(np.float32)
    after = train(
        Objective(CONFIG, LORA, LossConfig(kind, chunk=8), attention=attention),
        # A large epsilon: else Adam blows the rounding of small gradients up to whole steps.
        OptimizerConfig(learning_rate=0.01, b2=0.95, clip=1.0, eps=1e-2),
        Schedule(steps=3, batch_size=8, microbatches=2, pack_rows=pack_rows),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters),
        Frozen(tiny_params(), teacher_kernel=kernel if kind == "kl" else None),
        datasets,
        list(range(students)),
        folder,
        layout,
        NEVER,
        lambda step, metrics: losses.append(metrics["loss"]),
        lambda step, trained: None,
    )
    return np.array(losses), after


@pytest.mark.parametrize(
    "students, kind, attention",
    [
        (1, "cross_entropy", Attention()),
        (3, "kl", Attention()),
        pytest.param(3, "kl", Attention("splash", EIGHT, interpret=True), marks=pytest.mark.slow),
    ],
    ids=["one student", "three students, KL", "three students on splash"],
)
def test_training_on_packed_rows_on_eight_devices_is_that_on_plain_rows(
    students, kind, attention, tmp_path
):
    one = Layout(single_device_mesh())
    wanted, after_plain = trained(one, tmp_path / "one", students, kind, pack_rows=False)
    losses, after = trained(EIGHT, tmp_path / "eight", students, kind, True, attention)
    assert np.abs(losses[0] - losses[2]).min() > 1e-3  # something was learnt
    np.testing.assert_allclose(losses, wanted, atol=1e-5, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=0)
    jax.tree.map(close, after, after_plain)
