"""Optimizers and schedules: their papers' steps written out, torch's where it is at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sublax.training.optimizer import (
    OPTIMIZERS,
    OptimizerConfig,
    learning_rate,
    make_optimizer,
)

START = {"w": np.float32([[1.0, -2.0], [0.5, 3.0]]), "b": np.float32([0.1, -0.2])}
rng = np.random.default_rng(0)
GRADIENTS = [
    {name: np.float32(4 * rng.normal(size=leaf.shape)) for name, leaf in START.items()}
    for _ in range(4)
]
CONFIG = OptimizerConfig(
    learning_rate=0.05,
    schedule="linear",
    warmup_steps=2,
    weight_decay=0.1,
    clip=1.0,
    b1=0.8,
    b2=0.95,
    eps=1e-6,
)
RATES = [0.025, 0.05, 0.05, 0.025]  # of CONFIG over four updates


def ours(config):
    """Parameters after every update."""
    optimizer = make_optimizer(config, len(GRADIENTS))
    params, after = jax.tree.map(jnp.asarray, START), []
    state = optimizer.init(params)
    for gradients in GRADIENTS:
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        after.append(params)
    return after


def adamw_by_hand(config):
    """Loshchilov and Hutter, algorithm 2, on gradients clipped to the global norm, in float64."""
    params = {name: np.float64(leaf) for name, leaf in START.items()}
    m, v = ({name: np.zeros_like(leaf) for name, leaf in params.items()} for _ in range(2))
    after = []
    for t, (gradients, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), 1):
        norm = np.sqrt(sum((np.float64(g) ** 2).sum() for g in gradients.values()))
        for name, gradient in gradients.items():
            g = gradient * min(1.0, config.clip / norm)
            m[name] = config.b1 * m[name] + (1 - config.b1) * g
            v[name] = config.b2 * v[name] + (1 - config.b2) * g**2
            step = (m[name] / (1 - config.b1**t)) / (
                np.sqrt(v[name] / (1 - config.b2**t)) + config.eps
            )
            params[name] = params[name] - rate * (step + config.weight_decay * params[name])
        after.append(dict(params))
    return after


def torch_updates(make):
    """The same updates by a torch optimizer, clipped and scheduled by torch."""
    torch = pytest.importorskip("torch")
    params = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in START.items()}
    optimizer = make(torch.optim, list(params.values()))
    after = []
    for gradients, rate in zip(GRADIENTS, RATES, strict=True):
        for name, gradient in gradients.items():
            params[name].grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(params.values(), CONFIG.clip)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        after.append({name: leaf.detach().numpy().copy() for name, leaf in params.items()})
    return after


def same(got, wanted):
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6), got, wanted)


def test_adamw_takes_the_steps_of_its_paper():
    same(ours(CONFIG), adamw_by_hand(CONFIG))


def test_adamw_takes_the_steps_of_torch():
    def make(optim, params):
        return optim.AdamW(params, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)

    same(ours(CONFIG), torch_updates(make))


def with_name(name, **changes):
    fields = {"learning_rate": 0.05, "schedule": "linear", "warmup_steps": 2, "clip": 1.0}
    return OptimizerConfig(name, **(fields | changes))


def test_adam_takes_the_steps_of_torch():
    config = with_name("adam", b1=0.8, b2=0.95, eps=1e-6)
    same(ours(config), torch_updates(lambda o, params: o.Adam(params, betas=(0.8, 0.95), eps=1e-6)))


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_sgd_takes_the_steps_of_torch(momentum):
    config = with_name("sgd", b1=momentum)
    same(ours(config), torch_updates(lambda o, params: o.SGD(params, lr=1, momentum=momentum)))


def test_without_clipping_the_gradient_is_taken_whole():
    config = OptimizerConfig("sgd", 0.5, clip=0.0, b1=0.0)
    wanted = {name: START[name] - 0.5 * GRADIENTS[0][name] for name in START}
    same(ours(config)[0], wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_a_bowl(name):
    optimizer = make_optimizer(OptimizerConfig(name, 0.05), 50)
    params = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)

    def bowl(x):
        return jnp.sum((x - 0.5) ** 2)

    def one(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(bowl)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (after, _), _ = jax.lax.scan(one, (params, optimizer.init(params)), length=50)
    assert bowl(after) < 0.3 * bowl(params)


@pytest.mark.parametrize(
    ("schedule", "warmup", "wanted"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1]),
        ("constant", 2, [0.5, 1, 1, 1, 1, 1]),
        ("constant", 1, [1, 1, 1, 1, 1, 1]),
        ("linear", 0, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("linear", 2, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("linear", 3, [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]),
        ("cosine", 2, [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
    ],
)
def test_the_learning_rate_of_every_update(schedule, warmup, wanted):
    """The first update moves, the peak is reached, and zero would come one after the last."""
    rate = learning_rate(OptimizerConfig("adamw", 2e-3, schedule, warmup), steps=6)
    np.testing.assert_allclose(
        [rate(step) for step in range(6)], 2e-3 * np.array(wanted), rtol=1e-5
    )
    if schedule != "constant":
        np.testing.assert_allclose(rate(6), 0, atol=1e-9)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no optimizer 'lion': choose from adamw, adam, sgd"):
        make_optimizer(OptimizerConfig("lion"), 1)
    with pytest.raises(ValueError, match="no schedule 'steps': choose from constant, linear, cos"):
        make_optimizer(OptimizerConfig(schedule="steps"), 1)
