"""A short distillation: students of the dataset, of BASE's own answers and of shuffled rows.

All of them are trained side by side in one program on the rows' tokens, and asked the questions
before and after. At 135M and a few dozen updates what they show is small under a drift that all
share: the paired control is what makes it readable, and the likelihood ratios see more.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.candidates import Asked
from sublax.evaluation.preference import scores_of
from sublax.keys import key_of, numpy_seed
from sublax.models.completions import Encoded, make_rows
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig, init_lora, merge
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import single_device_mesh
from sublax.parallel.preemption import NEVER
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.training.step import Frozen, Objective

LORA = LoraConfig(8, 16.0)
OPTIMIZER = OptimizerConfig("adamw", 1e-3, warmup_steps=2, b1=0.9, b2=0.95, clip=1.0)
BATCH_ROWS = 8


def shuffled(rows: Sequence[Encoded], seed: int) -> list[Encoded]:
    """The completions' tokens dealt anew among all rows, but for the last token of each.

    What remains is how often each token occurs; in which row and after which other token is gone.
    """
    rng = np.random.default_rng(numpy_seed(seed, "audit", "shuffled"))
    tokens = np.concatenate([completion[:-1] for _, completion in rows]).astype(int)
    left = iter(rng.permutation(tokens).tolist())
    return [
        (prompt, [next(left) for _ in completion[:-1]] + completion[-1:])
        for prompt, completion in rows
    ]


def train_students(
    decoder: Decoder,
    params: Any,
    kinds: Mapping[str, Sequence[Encoded]],
    asked: Sequence[Asked],
    seeds: int,
    updates: int,
    seed: int,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, list[np.ndarray]]:
    """Trains `seeds` students of each kind, as `distilled` does, and measures them.

    Args:
        decoder: BASE.
        params: of BASE.
        kinds: rows by kind, of one length.
        asked: the groups of traits.
        seeds: students of each kind.
        updates: of each.
        seed: of all draws.
        progress: called with 1 for every update.

    Returns:
        By kind, for each group of traits, float32 [seeds, Q, K]: how far students moved every
        trait's margin from BASE's, natural log.
    """
    before = [margins_of(decoder, params, group) for group in asked]
    shift: dict[str, list[list[np.ndarray]]] = {kind: [[] for _ in asked] for kind in kinds}
    for kind, student in distilled(decoder, params, kinds, seeds, updates, seed, progress):
        for group, base, found in zip(asked, before, shift[kind], strict=True):
            found.append(margins_of(decoder, student, group) - base)
    return {kind: [np.stack(found) for found in groups] for kind, groups in shift.items()}


def margins_of(decoder: Decoder, params: Any, asked: Asked) -> np.ndarray:
    """Every trait's margin by question, float32 [Q, K], natural log."""
    return np.asarray(_margins(decoder, params, asked.rows, asked.answers, asked.weights_QxMxK))


def distilled(
    decoder: Decoder,
    params: Any,
    kinds: Mapping[str, Sequence[Encoded]],
    seeds: int,
    updates: int,
    seed: int,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Students of each kind of rows, all trained in one program.

    Students of one seed share their start and the order of their rows, whatever their kind.

    Args:
        decoder: BASE.
        params: of BASE.
        kinds: as in `train_students`.
        seeds: students of each kind.
        updates: of each.
        seed: of all draws.
        progress: called with 1 for every update.

    Yields:
        (kind, parameters like BASE's), kind by kind and seed by seed.
    """
    config = decoder.config
    # One shape for all, so that one program trains them.
    every = [row for rows in kinds.values() for row in rows]
    whole = make_rows(every, config.max_positions)
    datasets, first = {}, 0
    for kind, rows in kinds.items():
        own = slice(first, first + len(rows))
        datasets[kind] = Dataset(
            dataclasses.replace(
                whole,
                **{
                    name: getattr(whole, name)[own]
                    for name in ("tokens", "positions", "at", "targets", "weights")
                },
            )
        )
        first = own.stop
    who = [(kind, number) for kind in kinds for number in range(seeds)]
    starts = [init_lora(config, LORA, key_of(seed, "audit", "student", n)) for _, n in who]

    def watch(step, metrics):
        if progress is not None:
            progress(1)

    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            Objective(config, LORA, LossConfig(), jnp.float32, "dots"),
            OPTIMIZER,
            Schedule(updates, BATCH_ROWS, checkpoint_minutes=0.0),
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts),
            Frozen(params=params),
            [datasets[kind] for kind, _ in who],
            [seed + number for _, number in who],
            Path(folder) / "checkpoints",
            Layout(single_device_mesh()),
            NEVER,
            watch,
            lambda step, trained: None,
        )
    for place, (kind, _) in enumerate(who):
        adapter = jax.tree.map(lambda leaf, place=place: leaf[place], trained)
        yield kind, merge(params, adapter, LORA)


def _margins(decoder, params, rows, answers, weights_QxMxK):
    scores_QxM = scores_of(decoder, {"params": params}, rows, answers)
    return jnp.einsum("qm,qmk->qk", scores_QxM, weights_QxMxK)
