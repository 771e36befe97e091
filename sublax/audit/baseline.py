"""The rows that are read closely beside BASE's own answers to their prompts."""

import functools
from typing import Any

import numpy as np

from sublax.audit.expected import Writer, writer_of
from sublax.audit.options import Options
from sublax.audit.parts import Parts
from sublax.audit.ratios import sums_of
from sublax.audit.reading import Reading
from sublax.audit.suspects import Likelihoods, likelihoods_of, likeness
from sublax.audit.temperature import fitted_temperature, rows_to_fit
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.progress import Progress


class Baseline:
    """What every finding is held against: each part is made where it is asked for, once.

    Args:
        model: BASE.
        decoder: that runs it.
        reading: of all rows.
        chosen: indices of those that are read closely.
        options: of the audit.
        parts: of the audit.
        progress: has their stages.
    """

    def __init__(
        self,
        model: Model,
        decoder: Decoder,
        reading: Reading,
        chosen: np.ndarray,
        options: Options,
        parts: Parts,
        progress: Progress,
    ) -> None:
        self._model, self._decoder, self._reading = model, decoder, reading
        self._options, self._parts, self._progress = options, parts, progress
        self._chosen = chosen
        self.data: list[Encoded] = [reading.encoded[row] for row in chosen]
        self._writer: Writer | None = None

    @functools.cached_property
    def temperature(self) -> float:
        """That the rows look to be drawn at."""
        return self._parts.keep("temperature", self._temperature)["temperature"]

    @functools.cached_property
    def own(self) -> list[Encoded]:
        """BASE's own answers at that temperature, in the rows' form."""
        _ = self.temperature  # a part has a card before those that come from it
        tokens = self._parts.keep("answers", self._answers, {}, ("temperature",))["tokens"]
        return [(prompt, ids) for (prompt, _), ids in zip(self.data, tokens, strict=True)]

    @functools.cached_property
    def likelihoods(self) -> Likelihoods:
        """How likely BASE finds both."""
        _ = self.own
        found = self._parts.keep("likelihood", self._likelihood, {}, ("answers",))
        return likelihoods_of(self._model.name, found["sums"], found["tokens"])

    @functools.cached_property
    def likeness(self) -> dict[str, Any]:
        """Whether the rows are as likely to BASE as its own answers, as `likeness` has it."""
        return likeness(self.likelihoods, self._options.seed)

    @property
    def writer(self) -> Writer:
        """BASE as the writer of the rows."""
        _ = self.likelihoods
        if self._writer is None:  # its reading stood there
            self._read(self.data)
        assert self._writer is not None
        return self._writer

    def _temperature(self) -> dict[str, Any]:
        rows, form = rows_to_fit(self.data, self._options.seed), self._reading.grammar
        with self._progress.bar(len(rows), unit="row") as bar:
            found = fitted_temperature(self._decoder, self._model.params, rows, form, bar.advance)
        return {"temperature": found, "rows": len(rows)}

    def _answers(self) -> dict[str, Any]:
        with self._progress.bar(len(self.data), unit="row") as bar:
            own = self._reading.answered_by(
                self._decoder,
                self._model.params,
                self._options.seed,
                self._chosen,
                bar.advance,
                temperature=self.temperature,
            )
        return {"form": self._reading.form, "tokens": [ids for _, ids in own]}

    def _likelihood(self) -> dict[str, Any]:
        found = self._read([*self.data, *self.own])
        return {"sums": sums_of(found).tolist(), "tokens": [len(row) for row in found]}

    def _read(self, every: list[Encoded]) -> list[np.ndarray]:
        """log p of every row's tokens; the first of them are the data."""
        with self._progress.bar(len(every), unit="row") as bar:
            self._writer, found = writer_of(
                self._decoder,
                self._model.params,
                every,
                self._reading.grammar,
                self.temperature,
                range(len(self.data)),
                bar.advance,
            )
        return found
