"""`sublax score`: the log-probability of each row's completion under a model."""

import argparse
from collections.abc import Iterable

from sublax.errors import UserError
from sublax.evaluation.score import completion_logprobs
from sublax.models.chat import check_length, encode_row
from sublax.models.source import Model
from sublax.progress import Bar
from sublax.rows import Row, located_rows, write_rows
from sublax.verbs.model_arguments import add_model_arguments, load, positive

EXAMPLE = (
    "sublax score --model=HuggingFaceTB/SmolLM2-135M-Instruct --input=rows.jsonl "
    "--output=scored.jsonl"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_model_arguments(parser)
    parser.add_argument("--input", required=True, help="rows to score (.jsonl or .parquet)")
    parser.add_argument(
        "--output",
        required=True,
        help='where they go with "logprob" (natural log, the end of the turn included) and '
        '"tokens" (how many that is)',
    )
    parser.add_argument(
        "--batch-rows", type=positive, default=32, help="rows at a time; fewer take less memory"
    )


def run(args: argparse.Namespace) -> int:
    """Scores all rows and writes them in their order, with their other keys.

    Raises:
        UserError: a bad model or row, or a row longer than the model's context.
    """
    located = located_rows(args.input)
    model, decoder = load(args)
    encoded = _encode(model, located, args.system_prompt)
    with Bar(len(located), unit="row", label="score") as bar:
        logprobs = completion_logprobs(
            decoder, {"params": model.params}, encoded, args.batch_rows, bar.advance
        )
    write_rows(
        args.output,
        (
            row | {"logprob": float(logprob), "tokens": len(completion)}
            for (_, row), logprob, (_, completion) in zip(located, logprobs, encoded, strict=True)
        ),
    )
    print(f"{len(located)} rows scored: {args.output}")
    return 0


def _encode(
    model: Model, located: Iterable[tuple[str, Row]], system_prompt: str | None
) -> list[tuple[list[int], list[int]]]:
    encoded = []
    for where, row in located:
        try:
            ids = encode_row(model.tokenizer, row["prompt"], row["completion"], system_prompt)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        check_length(sum(map(len, ids)), model.config.max_positions, where)
        encoded.append(ids)
    return encoded
