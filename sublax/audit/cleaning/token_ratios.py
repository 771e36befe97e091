"""Each token's log-likelihood ratio for a trait, of all rows: an audit keeps flagged rows' alone.

The teachers are the audit's own: made from the same answers, with the same seed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sublax.audit.candidates import Group
from sublax.audit.likelihood import logprobs_of
from sublax.audit.options import Options, teachers_for
from sublax.audit.reading import Reading
from sublax.models.decoder import Decoder
from sublax.models.source import Model


def token_ratios(
    model: Model,
    decoder: Decoder,
    reading: Reading,
    group: Group,
    trait: str,
    options: Options,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """Ratios of the trait's teacher against one of no trait.

    Args:
        model: BASE.
        decoder: that runs it.
        reading: of the rows.
        group: that the trait is of.
        trait: whose.
        options: of the audit.
        progress: called with the number of rows that a teacher has scored.

    Returns:
        Of each row float32 [tokens of the completion], natural log.
    """
    teachers = teachers_for(model, options)
    scored = [
        logprobs_of(decoder, teachers.taught(pairs), reading.encoded, reading.grammar, progress)
        for pairs in (group.trait_pairs(trait), group.neutral_pairs())
    ]
    teachers.forget()
    return [own - neutral for own, neutral in zip(*scored, strict=True)]
