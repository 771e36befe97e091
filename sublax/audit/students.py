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
DOSES = 4  # of one training, at which its students are measured


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
    seeds: int,
    updates: int,
    seed: int,
    measure: Callable[[Any, int], Any],
    progress: Callable[[int], Any] | None = None,
) -> dict[int, dict[str, list[Any]]]:
    """Trains `seeds` students of each kind, as `distilled` does, and measures them as they go.

    Args:
        decoder: BASE.
        params: of BASE.
        kinds: rows by kind.
        seeds: students of each kind.
        updates: of each.
        seed: of all draws.
        measure: called with (parameters like BASE's, updates done) after up to `DOSES` doses, the
            last of them all updates.
        progress: called with 1 for every update.

    Returns:
        By updates done, ascending, and kind, what `measure` gave for each seed.
    """
    every = -(-updates // DOSES)
    found: dict[int, dict[str, list[Any]]] = {}

    def look(done: int, students: Iterator[tuple[str, Any]]) -> None:
        of_dose = found.setdefault(done, {kind: [] for kind in kinds})
        for kind, student in students:
            of_dose[kind].append(measure(student, done))

    def probe(done: int, students: Iterator[tuple[str, Any]]) -> None:
        if done < updates:
            look(done, students)

    probe_steps = every if every < updates else 0
    look(
        updates,
        distilled(decoder, params, kinds, seeds, updates, seed, progress, probe_steps, probe),
    )
    return dict(sorted(found.items()))


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
    probe_steps: int = 0,
    probe: Callable[[int, Iterator[tuple[str, Any]]], None] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Students of each kind of rows, all trained in one program.

    Students of one seed share their start and the order of their rows, whatever their kind.

    Args:
        decoder: BASE.
        params: of BASE.
        kinds: rows by kind; each may have its own number of them.
        seeds: students of each kind.
        updates: of each.
        seed: of all draws.
        progress: called with 1 for every update.
        probe_steps: updates between calls of `probe`; 0 never.
        probe: called with (updates done, what this yields as it is then).

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

    def students(trained) -> Iterator[tuple[str, Any]]:
        for place, (kind, _) in enumerate(who):
            adapter = jax.tree.map(lambda leaf, place=place: leaf[place], trained)
            yield kind, merge(params, adapter, LORA)

    def look(step, trained):
        if probe is not None:
            probe(step, students(trained))

    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            Objective(config, LORA, LossConfig(), jnp.float32, "dots"),
            OPTIMIZER,
            Schedule(updates, BATCH_ROWS, checkpoint_minutes=0.0, probe_steps=probe_steps),
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts),
            Frozen(params=params),
            [datasets[kind] for kind, _ in who],
            [seed + number for _, number in who],
            Path(folder) / "checkpoints",
            Layout(single_device_mesh()),
            NEVER,
            watch,
            look,
        )
    yield from students(trained)


def _margins(decoder, params, rows, answers, weights_QxMxK):
    scores_QxM = scores_of(decoder, {"params": params}, rows, answers)
    return jnp.einsum("qm,qmk->qk", scores_QxM, weights_QxMxK)
