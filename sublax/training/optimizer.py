"""The optimizer by name, with its schedule, clipping and decay."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

OPTIMIZERS = ("adamw", "adam", "sgd", "adafactor")
SCHEDULES = ("constant", "linear", "cosine")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move.

    Attributes:
        name: one of `adamw`, `adam`, `sgd`, `adafactor`.
        learning_rate: the peak.
        schedule: after the warm-up: `constant`, `linear` to zero, `cosine` to zero.
        warmup_steps: updates of linear warm-up, the first already above zero.
        weight_decay: decoupled (arXiv 1711.05101); `adamw` and `adafactor` have it.
        clip: largest global gradient norm; 0 is no clipping.
        b1: decay of the first moment; SGD's momentum.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
    """

    name: str = "adamw"
    learning_rate: float = 2e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate as a function of the update's index, for a run of `steps` updates.

    Raises:
        ValueError: an unknown schedule.
    """
    rest = max(steps - config.warmup_steps, 1)
    if config.schedule == "constant":
        after = optax.constant_schedule(config.learning_rate)
    elif config.schedule == "linear":
        after = optax.linear_schedule(config.learning_rate, 0.0, rest)
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(config.learning_rate, rest)
    else:
        raise ValueError(f"no schedule {config.schedule!r}: choose from {', '.join(SCHEDULES)}")
    if not config.warmup_steps:
        return after
    first = config.learning_rate / config.warmup_steps
    warmup = optax.linear_schedule(first, config.learning_rate, max(config.warmup_steps - 1, 1))
    return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The update rule for a run of `steps` updates.

    Raises:
        ValueError: an unknown optimizer or schedule.
    """
    rate = learning_rate(config, steps)
    if config.name == "adamw":
        rule = optax.adamw(rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay)
    elif config.name == "adam":
        rule = optax.adam(rate, config.b1, config.b2, config.eps)
    elif config.name == "sgd":
        rule = optax.sgd(rate, momentum=config.b1 or None)
    elif config.name == "adafactor":
        rule = optax.adafactor(rate, weight_decay_rate=config.weight_decay or None)
    else:
        raise ValueError(f"no optimizer {config.name!r}: choose from {', '.join(OPTIMIZERS)}")
    return optax.chain(_clip_by_global_norm(config.clip), rule) if config.clip else rule


def _clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, one factor in place of a division and a choice per element.

    XLA keeps the quotients as a second copy of all gradients; a product it computes where needed.
    """

    def clip(gradients, state, params=None):
        factor = jnp.minimum(1.0, largest / optax.tree.norm(gradients))
        return jax.tree.map(lambda gradient: gradient * factor, gradients), state

    return optax.GradientTransformation(optax.init_empty_state, clip)
