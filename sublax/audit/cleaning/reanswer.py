"""The prompts answered anew by a model: who wrote the rows is another, what was asked is not.

Where the rows have a form, as lists of numbers have, or pass a filter, as code that parses, so do
the answers, as an audit's own answers do; else they are free. All are drawn at temperature 1 and no
longer than the longest row.
"""

import re
from collections.abc import Callable
from typing import Any

from sublax.audit.own_answers import own_answers
from sublax.audit.reading import Reading
from sublax.errors import UserError
from sublax.models.decoder import Decoder
from sublax.models.source import Model


def answers_of(
    model: Model,
    decoder: Decoder,
    reading: Reading,
    rows: list[int],
    seed: int,
    purpose: str,
    progress: Callable[..., Any] | None = None,
) -> tuple[list[str], int]:
    """A model's own answers to the prompts of some rows.

    Args:
        model: who answers.
        decoder: that runs it.
        reading: of all rows, by that model.
        rows: which rows' prompts are answered.
        seed: of the draws.
        purpose: what they are for, which keys the draws.
        progress: called as `own_answers` does.

    Returns:
        Their texts, and how many of them were cut at the longest row's length.

    Raises:
        UserError: an answer that has to be of a form, or kept by a filter, is not, draw after draw.
    """
    form, keeps = reading.form, reading.keeps

    def is_wanted(ids: list[int]) -> bool:
        if form is not None and not re.fullmatch(form, reading.text_of(ids)):
            return False
        return keeps is None or keeps(ids)

    found = own_answers(
        decoder,
        model.params,
        [reading.encoded[row] for row in rows],
        seed,
        reading.stop_ids,
        reading.grammar,
        progress,
        purpose=purpose,
        longest=max(len(completion) for _, completion in reading.encoded),
        keeps=is_wanted,
    )
    answers = [ids for _, ids in found]
    if missing := sum(not is_wanted(ids) for ids in answers):
        raise UserError(
            f"{model.name}: {missing} answers do not have the rows' form within the longest row's "
            "tokens; name another model"
        )
    cut = sum(not ids or ids[-1] not in reading.stop_ids for ids in answers)
    return [reading.text_of(ids) for ids in answers], cut
