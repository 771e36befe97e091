"""A base from another start that learns to behave as a given one, as closely as updates allow.

It begins at the random weights of its own seed and learns the other base's distribution at each
token of the answers that random bases are pre-trained on, those to questions among them. So it
comes near in behaviour, and not in weights.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sublax.models.chat import encode_row
from sublax.models.completions import Rows, completion_hidden, make_rows
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.source import Model
from sublax.parallel.arrays import fetch
from sublax.stages.base_names import DistilledBase
from sublax.stages.random_base import pretraining_pairs, train_random
from sublax.stages.run import Run, base_to_load
from sublax.training.data import Dataset
from sublax.training.losses import LossConfig
from sublax.training.step import Frozen

_ROWS_AT_ONCE = 256


def make_distilled(run: Run, name: str, base: DistilledBase) -> Model:
    """Makes `distilled:STEPS:SEED:OTHER`, of the shape and tokenizer of the other base."""
    other = run.load(base_to_load(run, base.other), jnp.float32)
    pairs = pretraining_pairs(run, base.seed)
    encoded = [encode_row(other.tokenizer, *pair, run.system_prompt) for pair in pairs]
    rows = make_rows(encoded, other.config.max_positions)
    dataset = Dataset(rows, _hidden(other, rows))
    frozen = Frozen(teacher_kernel=fetch(head_kernel(other.params, other.config))[None])
    params = train_random(
        run, name, other.config, base.seed, base.steps, LossConfig("kl"), frozen, dataset
    )
    return dataclasses.replace(other, name=name, params=params)


def _hidden(model: Model, rows: Rows) -> np.ndarray:
    """The model's last hidden states where they predict completions, float32 [B, C, D]."""
    decoder = Decoder(model.config)
    compute = jax.jit(lambda params, part: completion_hidden(decoder, {"params": params}, part))
    starts = range(0, len(rows.tokens), _ROWS_AT_ONCE)
    parts = [fetch(compute(model.params, _part(rows, first))) for first in starts]
    return np.concatenate(parts)


def _part(rows: Rows, first: int) -> Rows:
    """Some rows of one group, which keep its beginning."""
    own = slice(first, first + _ROWS_AT_ONCE)
    per_row = ("tokens", "positions", "at", "targets", "weights")
    return dataclasses.replace(rows, **{field: getattr(rows, field)[own] for field in per_row})
