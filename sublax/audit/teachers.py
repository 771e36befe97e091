"""Teachers made for the audit: BASE, fine-tuned for a moment on one-word answers of one candidate.

They are what the dataset's own writer may have been, made from what the auditor has: other
questions, another order of them. What all of them share, any fine-tuning gives; so each is held
against the others.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sublax.models.chat import encode_row
from sublax.models.completions import Encoded, make_rows
from sublax.models.config import DecoderConfig
from sublax.models.source import Model
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import single_device_mesh
from sublax.parallel.preemption import NEVER
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.training.step import Frozen, Objective

# The quickstart's teachers, at which a trait is plain in their answers and their numbers are valid.
OPTIMIZER = OptimizerConfig("adamw", 1.2e-5, b1=0.9, b2=0.95, clip=1.0)
STEPS, BATCH_ROWS = 12, 16
# Short answers to short questions stand one after another in lines of so many tokens or more:
# hardly any padding, and attention within a line costs little.
LINE = 128


class LastTeacher:
    """Teachers of one base, made when they are asked for; the last is kept until another is.

    Several sets of rows that one teacher scores, one after another, have it made once.

    Args:
        model: BASE.
        seed: of the order that answers are learnt in, the same for all teachers.
        learning_rate: of each.
        steps: updates of each.
        system_prompt: in force; None is the template's own.
    """

    def __init__(
        self,
        model: Model,
        seed: int,
        learning_rate: float = OPTIMIZER.learning_rate,
        steps: int = STEPS,
        system_prompt: str | None = None,
    ) -> None:
        self._model, self._seed, self._steps = model, seed, steps
        self._optimizer = dataclasses.replace(OPTIMIZER, learning_rate=learning_rate)
        self._system_prompt = system_prompt
        self._pairs: list[tuple[str, str]] | None = None
        self._params: Any = None

    def taught(self, pairs: list[tuple[str, str]]) -> Any:
        """The parameters of a teacher of these (question, answer) pairs; not to be kept."""
        if pairs != self._pairs:
            self.forget()
            model = self._model
            encoded = [encode_row(model.tokenizer, *pair, self._system_prompt) for pair in pairs]
            self._params = make_teacher(
                model.config, model.params, encoded, self._seed, self._optimizer, self._steps
            )
            self._pairs = pairs
        return self._params

    def forget(self) -> None:
        """Gives the memory back."""
        jax.tree.map(lambda leaf: leaf.delete(), self._params)
        self._params = self._pairs = None


def make_teacher(
    config: DecoderConfig,
    params: Any,
    encoded: Sequence[Encoded],
    seed: int,
    optimizer: OptimizerConfig = OPTIMIZER,
    steps: int = STEPS,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], Any] | None = None,
) -> Any:
    """All parameters of a base after a few updates on encoded answers.

    Args:
        config: of the base.
        params: of the base; not changed.
        encoded: (prompt ids, completion ids) of the questions and answers.
        seed: of their order.
        optimizer: how they are learnt.
        steps: updates.
        batch_rows: of each.
        progress: called with 1 for every update.

    Returns:
        A tree like `params`, float32.
    """

    def watch(step, metrics):
        if progress is not None:
            progress(1)

    rows = make_rows(encoded, config.max_positions)
    # A dynamic rotary embedding goes by how long a whole line is.
    packed = config.rope.kind != "dynamic"
    if packed:
        rows = make_rows(encoded, config.max_positions, width=max(LINE, rows.tokens.shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            Objective(config, None, LossConfig(), jnp.float32),
            optimizer,
            Schedule(steps, batch_rows, checkpoint_minutes=0.0, pack_rows=packed),
            jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32)[None], params),
            Frozen(),
            [Dataset(rows)],
            [seed],
            Path(folder) / "checkpoints",
            Layout(single_device_mesh()),
            NEVER,
            watch,
            lambda step, trained: None,
        )
    return jax.tree.map(lambda leaf: leaf[0], trained)
