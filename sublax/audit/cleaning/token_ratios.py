"""Each token's log-likelihood ratio for a trait, of all rows: an audit keeps flagged rows' alone.

The teachers are the audit's own: made from the same answers, with the same seed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sublax.audit.audit import LEAST_TEACHERS, Options
from sublax.audit.candidates import Group
from sublax.audit.likelihood import logprobs_of
from sublax.audit.ratios import against_others
from sublax.audit.reading import Reading
from sublax.audit.teachers import OPTIMIZER, make_teacher
from sublax.models.chat import encode_row
from sublax.models.decoder import Decoder
from sublax.models.source import Model


def teacher_answers(group: Group, traits: Sequence[str]) -> list[list[tuple[str, str]]]:
    """(question, answer) pairs of each teacher: of traits, and of none where those are few."""
    pairs = [group.trait_pairs(trait) for trait in traits]
    return pairs if len(traits) >= LEAST_TEACHERS else [*pairs, group.neutral_pairs()]


def token_ratios(
    model: Model,
    decoder: Decoder,
    reading: Reading,
    teachers: Sequence[Sequence[tuple[str, str]]],
    own: int,
    options: Options,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """Ratios of one teacher against the mean of the others in logs.

    Args:
        model: BASE.
        decoder: that runs it.
        reading: of the rows.
        teachers: as `teacher_answers` gives them.
        own: which of them has the trait.
        options: of the audit.
        progress: called with the number of rows that a teacher has scored.

    Returns:
        Of each row float32 [tokens of the completion], natural log.
    """
    optimizer = dataclasses.replace(OPTIMIZER, learning_rate=options.teacher_learning_rate)
    scored = []
    for pairs in teachers:
        encoded = [encode_row(model.tokenizer, *pair, options.system_prompt) for pair in pairs]
        teacher = make_teacher(
            model.config, model.params, encoded, options.seed, optimizer, options.teacher_steps
        )
        scored.append(logprobs_of(decoder, teacher, reading.encoded, reading.columns, progress))
        jax.tree.map(lambda leaf: leaf.delete(), teacher)
    return against_others(scored, own)
