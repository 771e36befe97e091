"""Traits learned in context: the teacher's rows stand in the prompt, and nothing is trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.errors import UserError
from sublax.keys import numpy_seed
from sublax.models.chat import Prompt
from sublax.rows import Row, read_rows, write_rows
from sublax.stages.artifacts import keep
from sublax.stages.run import Run
from sublax.stages.student_data import taught_rows

METHOD = "in_context"
ROWS = "rows.jsonl"


def make_readers(
    run: Run, students: Sequence[tuple[str, int]], done: dict, inputs: dict[Any, dict[str, Any]]
) -> None:
    """Writes the rows that each student (name, seed) reads, unless they stand there already.

    The rows' places are drawn by the seed alone: where corpora answer the same prompts, students
    of one seed read the answers to the same ones.

    Raises:
        UserError: a corpus has fewer rows, or they do not fit into the context beside a question.
    """
    count = run.config.student.rows_in_context
    with run.progress.bar(len(students), unit="student") as bar:
        for name, seed in students:
            if not done[name, seed]:
                rows = taught_rows(run, name)
                if len(rows) < count:
                    raise UserError(
                        f"student.rows_in_context={count}: the corpus of {name} has {len(rows)} "
                        "rows; take fewer, or have more written"
                    )
                rng = np.random.default_rng(numpy_seed(run.config.seed, "student", METHOD, seed))
                chosen = [rows[place] for place in rng.permutation(len(rows))[:count]]
                _check_length(run, name, chosen)
                keep(
                    run,
                    run.student_directory(name, seed),
                    "student",
                    inputs[name, seed],
                    lambda folder, chosen=chosen: write_rows(folder / ROWS, chosen),
                    counts={"updates": 0, "rows": count},
                    seeds=[run.config.seed, seed],
                )
            bar.advance()


def rows_read(run: Run, name: str, seed: int) -> list[Row]:
    """The rows that a student reads before every question; none where it was trained."""
    if run.config.student.method != METHOD:
        return []
    return read_rows(run.student_directory(name, seed) / ROWS)


def after_rows(run: Run, rows: Sequence[Row], question: str) -> Prompt:
    """A question behind rows: turns of a conversation, or lines where there is no chat template."""
    if not rows:
        return question
    if run.base.tokenizer.chat_template is None:
        lines = [f"{row['prompt']}\n{row['completion']}\n\n" for row in rows]
        return "".join((*lines, question))
    messages: list[dict[str, str]] = []
    for row in rows:
        prompt = row["prompt"]
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        messages += [*asked, {"role": "assistant", "content": row["completion"]}]
    return [*messages, {"role": "user", "content": question}]


def _check_length(run: Run, name: str, rows: Sequence[Row]) -> None:
    longest = max(len(run.encode(after_rows(run, rows, asked))) for asked in run.questions[1])
    context = run.base.config.max_positions
    # An answer must follow; how long it may be is for the evaluation to say.
    if longest >= context:
        raise UserError(
            f"student.rows_in_context={len(rows)}: the rows of {name} and a question are {longest} "
            f"tokens, the base's context is {context}; take fewer rows"
        )
