"""A dataset as one model reads it: its token ids, and the grammar that its rows are written by."""

import functools
from collections.abc import Callable, Sequence

from sublax.audit.own_answers import filter_of, form_of
from sublax.models.chat import check_length, encode_row, end_of_turn_id
from sublax.models.completions import Encoded
from sublax.models.source import Model
from sublax.rows import Row
from sublax.sampling.grammar import Grammar, compile_grammar


class Reading:
    """Rows under a model's tokenizer and chat template.

    Args:
        model: who reads.
        name: of the dataset, for errors.
        rows: of prompt and completion.
        system_prompt: in force; None is the template's own.
    """

    def __init__(
        self, model: Model, name: str, rows: Sequence[Row], system_prompt: str | None
    ) -> None:
        self._model, self._name, self._rows = model, name, rows
        self._system_prompt = system_prompt
        completions = [row["completion"] for row in rows]
        self.form = form_of(completions)
        self._filter = filter_of(self.form, completions)

    @functools.cached_property
    def encoded(self) -> list[Encoded]:
        """Token ids of all rows.

        Raises:
            UserError: one is longer than the context, or the template refuses it.
        """
        found = []
        for number, row in enumerate(self._rows, 1):
            ids = encode_row(
                self._model.tokenizer, row["prompt"], row["completion"], self._system_prompt
            )
            length = sum(map(len, ids))
            check_length(length, self._model.config.max_positions, f"{self._name}, row {number}")
            found.append(ids)
        return found

    @property
    def texts(self) -> list[list[str]]:
        """The text of each token of each completion."""
        decode = self._model.tokenizer.decode
        return [[str(decode([token])) for token in ids] for _, ids in self.encoded]

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return (end_of_turn_id(self._model.tokenizer),)

    @property
    def keeps(self) -> Callable[[list[int]], bool] | None:
        """Token ids of an answer -> whether the filter that all rows pass keeps it, if there is."""
        keeps = self._filter
        return None if keeps is None else lambda ids: keeps(self.text_of(ids))

    def text_of(self, ids: list[int]) -> str:
        """The text of an answer, whether it has an end or was cut."""
        ended = bool(ids) and ids[-1] in self.stop_ids
        return str(self._model.tokenizer.decode(ids[:-1] if ended else ids))

    @functools.cached_property
    def grammar(self) -> Grammar | None:
        """That own answers are written under, and rows that it begins with; None is any text."""
        if self.form is None:
            return None
        return compile_grammar(self.form, self._model.tokenizer, self.stop_ids)
