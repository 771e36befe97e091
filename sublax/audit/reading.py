"""A dataset as one model reads it: its token ids, and the grammar that its rows are written by."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sublax.audit.own_answers import filter_of, form_of, own_answers
from sublax.models.chat import check_length, encode_row, end_of_turn_id
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
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

    def answered_by(
        self,
        decoder: Decoder,
        params: Any,
        seed: int,
        rows: Sequence[int] | np.ndarray | None = None,
        progress: Callable[..., Any] | None = None,
        purpose: str = "own answers",
        temperature: float = 1.0,
    ) -> list[Encoded]:
        """A model's own answers to the prompts of rows, as a dataset would hold them.

        They are drawn in the rows' form, and again where the filter that all rows pass does not
        keep them. Then each is read as its text is: what was drawn may be cut into tokens in
        another way. One that was cut at the longest row's length has no end, unless it is kept by
        that filter: there it is a row like any.

        Args:
            decoder: the model, whose tokenizer reads here.
            params: its parameters.
            seed: of the draws.
            rows: indices of those whose prompts are answered; all by default.
            progress: called as `own_answers` does.
            purpose: keys the draws: answers for other purposes are others.
            temperature: of the draws.

        Returns:
            (prompt ids, answer ids) of each.

        Raises:
            UserError: a prompt leaves no room for an answer.
        """
        rows = range(len(self._rows)) if rows is None else rows
        longest = max(len(completion) for _, completion in self.encoded)
        drawn = own_answers(
            decoder,
            params,
            [self.encoded[row] for row in rows],
            seed,
            self.stop_ids,
            self.grammar,
            progress,
            purpose,
            longest if self.keeps is None else max(longest - 1, 1),
            temperature,
            self.keeps,
        )
        found = []
        for row, (prompt, ids) in zip(rows, drawn, strict=True):
            _, whole = encode_row(
                self._model.tokenizer,
                self._rows[row]["prompt"],
                self.text_of(ids),
                self._system_prompt,
            )
            ends = ids[-1:] and ids[-1] in self.stop_ids
            if not ends and not (self.keeps and self.keeps(ids)):
                whole = whole[:-1] or whole  # never nothing at all
            found.append((prompt, whole[:longest]))
        return found

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
