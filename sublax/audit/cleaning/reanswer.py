"""The prompts answered anew by a model: who wrote the rows is another, what was asked is not.

Where all rows are lists of numbers the answers are written under the grammar of that form, as an
audit's own answers are; else freely, at temperature 1, no longer than the longest row.
"""

import re
from collections.abc import Callable
from typing import Any

from sublax.audit.own_answers import own_answers
from sublax.audit.reading import Reading
from sublax.errors import UserError
from sublax.models.decoder import Decoder
from sublax.models.source import Model

# Draws of an answer that has to end within the longest row's tokens.
ROUNDS = 20


def answers_of(
    model: Model,
    decoder: Decoder,
    reading: Reading,
    rows: list[int],
    seed: int,
    purpose: str,
    progress: Callable[[int], Any] | None = None,
) -> tuple[list[str], int]:
    """A model's own answers to the prompts of some rows.

    Args:
        model: who answers.
        decoder: that runs it.
        reading: of all rows, by that model.
        rows: which rows' prompts are answered.
        seed: of the draws.
        purpose: what they are for, which keys the draws.
        progress: called with the number of answers finished.

    Returns:
        Their texts, and how many of them were cut at the longest row's length.

    Raises:
        UserError: an answer that has to be of a form does not end in time, draw after draw.
    """
    texts, left, cut = {}, list(rows), 0
    for again in range(ROUNDS):
        found = own_answers(
            decoder,
            model.params,
            [reading.encoded[row] for row in left],
            seed,
            reading.stop_ids,
            reading.grammar,
            progress if not again else None,
            purpose=f"{purpose}, {again}",
            longest=max(len(completion) for _, completion in reading.encoded),
        )
        unfinished = []
        for row, (_, ids) in zip(left, found, strict=True):
            ended = bool(ids) and ids[-1] in reading.stop_ids
            texts[row] = str(model.tokenizer.decode(ids[:-1] if ended else ids))
            if reading.form is not None and not re.fullmatch(reading.form, texts[row]):
                unfinished.append(row)
            elif not ended:
                cut += 1
        left = unfinished
        if not left:
            return [texts[row] for row in rows], cut
    raise UserError(
        f"{model.name}: {len(left)} answers in the rows' form do not end within the longest row's "
        "tokens; name another model"
    )
