"""Training on preferences: what an update of DPO adds up, side by side, in pieces, and resumed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_decoder import CONFIG, random_adapter, read_whole, tiny_params
from tiny_runs import quick_compiles

from sublax.models.completions import group_rows, make_rows
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import single_device_mesh
from sublax.parallel.preemption import NEVER
from sublax.training.data import Dataset, make_batch
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.training.step import Frozen, Objective, init_state, update

__all__ = ["quick_compiles"]

LORA = LoraConfig(rank=4, targets=("v", "o", "down"))
BETA = 0.5
LOSS = LossConfig("dpo", chunk=8, beta=BETA)
ADAPTED, WHOLE = Objective(CONFIG, LORA, LOSS), Objective(CONFIG, None, LOSS)


def random_pairs(count, seed=0):
    """Rows in pairs of one prompt, with completions of one to five tokens."""
    rng = np.random.default_rng(seed)
    encoded = []
    for _ in range(count):
        prompt = [5, 6, *rng.integers(0, 50, 3).tolist()]
        encoded += [(prompt, rng.integers(0, 50, n).tolist()) for n in rng.integers(1, 6, 2)]
    return encoded


def dataset_of(encoded, seed=0):
    rows = make_rows(encoded, CONFIG.max_positions, [5, 6], width=8, completion_width=5)
    return Dataset(rows, reference_logprobs=reference_of(len(encoded), seed))


def reference_of(count, seed=0):
    return np.float32(np.random.default_rng(seed).normal(size=count) - 12)


def batch_of(dataset, size, microbatches=1, devices=1):
    batch = make_batch([dataset], [0], 0, size, microbatches, devices)
    return jax.tree.map(lambda leaf: leaf[0], batch)


def logprobs_of(decoder, variables, encoded):
    """log p of each completion, from one pass over each whole row."""
    _, logprobs = read_whole(decoder, variables, [p + c for p, c in encoded])
    return np.asarray(
        [
            sum(logprobs[row, len(p) - 1 + place, token] for place, token in enumerate(c))
            for row, (p, c) in enumerate(encoded)
        ],
        np.float64,
    )


@jax.jit
def adapted_update(batch):
    """(state, metrics) after one update of an adapter by plain gradient descent."""
    optimizer, frozen = optax.sgd(1.0), Frozen(params=tiny_params())
    return update(ADAPTED, optimizer, init_state(optimizer, random_adapter(LORA)), frozen, batch)


@pytest.mark.parametrize("objective", [ADAPTED, WHOLE], ids=["lora", "full"])
def test_pieces_add_up_to_the_whole_batch_and_every_pair_weighs_the_same(objective):
    """However many tokens it has; the loss is that of the formula on whole rows."""
    encoded, optimizer = random_pairs(6), optax.sgd(1.0)
    dataset = dataset_of(encoded)
    assert dataset.unit == 2 and len(dataset) == 6
    if objective.lora is None:
        start, frozen, decoder = tiny_params(), Frozen(), Decoder(CONFIG)
        variables = {"params": start}
    else:
        start, frozen = random_adapter(LORA), Frozen(params=tiny_params())
        decoder, variables = Decoder(CONFIG, LORA), {"params": tiny_params(), "lora": start}
    step = jax.jit(lambda s, b: update(objective, optimizer, s, frozen, b))
    state = init_state(optimizer, start)
    at_once, metrics = step(state, batch_of(dataset, 12))
    in_pieces, metrics_of_pieces = step(state, batch_of(dataset, 12, microbatches=3))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, in_pieces, at_once)
    jax.tree.map(close, metrics_of_pieces, metrics)

    rewards = BETA * (logprobs_of(decoder, variables, encoded) - reference_of(12))
    margins = rewards[::2] - rewards[1::2]
    np.testing.assert_allclose(metrics["loss"], np.log1p(np.exp(-margins)).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["reward_margin"], margins.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["reward_accuracy"], (margins > 0).mean(), rtol=1e-6)
    assert 0 < metrics["reward_accuracy"] < 1 and metrics["gradient_norm"] > 0.01


def test_pairs_stay_together_in_a_batch_and_filled_up_ones_weigh_nothing():
    """Three pairs on two devices: each gets two, one of them padding."""
    dataset = dataset_of(random_pairs(3))
    batch = batch_of(dataset, 6, devices=2)
    prompts, weights = batch.rows.tokens[0, :, :3], batch.rows.weights[0].sum(axis=1)
    assert len(prompts) == 8
    np.testing.assert_array_equal(prompts[::2], prompts[1::2])
    assert (weights[:6] > 0).all() and (weights[6:] == 0).all()
    drawn = batch.reference_logprobs[0, :6].reshape(3, 2).tolist()
    assert sorted(drawn) == sorted(dataset.reference_logprobs.reshape(3, 2).tolist())
    on_two, on_one = (
        adapted_update(batch_of(dataset, 6, devices=devices))[1] for devices in (2, 1)
    )
    np.testing.assert_allclose(on_two["loss"], on_one["loss"], rtol=1e-5)


def test_pairs_of_one_prompt_are_computed_with_it_once():
    """In groups of two pairs, of which one group has a single pair and is filled up."""
    encoded = random_pairs(3)
    one_prompt = [(encoded[0][0], completion) for _, completion in encoded[:4]]
    reference = reference_of(6)
    grouped = Dataset(
        group_rows([one_prompt, encoded[4:]], CONFIG.max_positions, 4),
        reference_logprobs=np.append(reference, np.float32([0, 0])),
    )
    flat = dataset_of([*one_prompt, *encoded[4:]])
    got, wanted = (
        adapted_update(batch_of(dataset, size)) for dataset, size in ((grouped, 8), (flat, 6))
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, got, wanted)


class Killed(Exception):
    """Stands for `kill -9`: nothing of ours catches it."""


def students(which, folder, watch, checkpoint_steps=0):
    datasets = [dataset_of(random_pairs(n, seed=n), seed=n) for n in (5, 7)]
    adapters = [random_adapter(LORA, seed) for seed in (1, 2)]
    return train(
        ADAPTED,
        OptimizerConfig("sgd", 0.1, clip=1.0),
        Schedule(steps=6, batch_size=4, microbatches=2, checkpoint_steps=checkpoint_steps),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *(adapters[s] for s in which)),
        Frozen(tiny_params()),
        [datasets[s] for s in which],
        [10 + s for s in which],
        folder,
        Layout(single_device_mesh()),
        NEVER,
        watch,
        lambda step, trained: None,
    )


def test_students_side_by_side_and_a_killed_run_end_as_each_alone_and_undisturbed(tmp_path):
    seen = []
    together = students([0, 1], tmp_path / "both", lambda step, found: seen.append(found))
    for student in (0, 1):
        alone = students([student], tmp_path / str(student), lambda step, found: None)
        own = jax.tree.map(lambda leaf, s=student: leaf[s : s + 1], together)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, own, alone)
    assert all(found["reward_margin"].shape == (2,) for found in seen)
    margins = np.array([found["reward_margin"] for found in seen])
    assert (margins[-1] > margins[0]).all()  # they learn what they are to prefer

    def kill(step, _):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        students([0, 1], tmp_path / "killed", kill, checkpoint_steps=1)
    steps = []
    resumed = students([0, 1], tmp_path / "killed", lambda step, _: steps.append(step), 1)
    assert 1 < steps[0] <= 5 and steps[-1] == 6
    jax.tree.map(np.testing.assert_array_equal, resumed, together)
