"""What another model makes of the rows, and of its own answers to their prompts."""

import dataclasses
from collections.abc import Sequence

from sublax.audit.likelihood import logprobs_of
from sublax.audit.options import Options
from sublax.audit.ratios import sums_of
from sublax.audit.reading import Reading
from sublax.audit.suspects import Likelihoods, likelihoods_of
from sublax.audit.temperature import fitted_temperature, rows_to_fit
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import load_model
from sublax.rows import Row
from sublax.store import local_model


def likelihoods_under(
    name: str, decoder: Decoder, dataset: str, rows: Sequence[Row], options: Options
) -> Likelihoods:
    """Loads a model and has it read the rows.

    Args:
        name: of the model.
        decoder: BASE's, whose settings hold for this model too.
        dataset: its name, for errors.
        rows: of it.
        options: of the audit.

    Raises:
        UserError: a bad model, or a row longer than its context.
    """
    model = load_model(with_source(name, local_model))
    decoder = dataclasses.replace(decoder, config=model.config)
    reading = Reading(model, dataset, rows, options.system_prompt)
    some = rows_to_fit(reading.encoded, options.seed)
    at = fitted_temperature(decoder, model.params, some, reading.grammar)
    own = reading.answered_by(decoder, model.params, options.seed, temperature=at)
    every = logprobs_of(decoder, model.params, [*reading.encoded, *own], reading.grammar)
    return likelihoods_of(name, sums_of(every).tolist(), [len(row) for row in every])
