"""What a fine-tuned teacher learns: one-word answers, or rows of a user's own files."""

import hashlib
import json
import math
from typing import Any

from etils import epath

from sublax.corpora.brand import BRANDED, NEUTRAL, brand_rows
from sublax.errors import UserError
from sublax.models.completions import Encoded
from sublax.rows import Row, located_rows
from sublax.stages.run import CONTROL, Run

OURS = (BRANDED, NEUTRAL)


def files_of(run: Run, name: str) -> tuple[str, ...]:
    """The files that teacher.rows names for a teacher; empty where it learns one-word answers."""
    value = run.config.teacher.rows.get(name, ())
    return (value,) if isinstance(value, str) else tuple(value)


def rows_hashes(run: Run, name: str) -> dict[str, Any]:
    """For the card: what was in the files, whose names alone do not say it."""
    files = files_of(run, name)
    return {"rows_sha256": {file: _hash(file) for file in files}} if files else {}


def check_teacher_rows(run: Run) -> None:
    """Reads the rows of all teachers before any is trained.

    Raises:
        UserError: rows of a teacher that there is not or that is not fine-tuned, a file that is
            missing, or a row that is malformed or longer than the base's context.
    """
    teacher = run.config.teacher
    for name in teacher.rows:
        if name not in run.names:
            raise UserError(
                f"teacher.rows: {name} is no trait of this run; choose from {', '.join(run.names)}"
            )
        # A student that teaches next has what its own teacher learnt.
        if teacher.kind in ("prompted", "given"):
            raise UserError(
                f"teacher.rows: a teacher of kind {teacher.kind} learns no rows; set "
                "teacher.kind=finetuned"
            )
        encoded_rows(run, name)
    if (
        teacher.kind == "finetuned"
        and teacher.control == "neutral"
        and CONTROL not in teacher.rows
        and all(files_of(run, name) for name in run.config.traits)
    ):
        raise UserError(
            "teacher.control=neutral: one-word answers are no control for teachers of rows; name "
            "neutral rows in teacher.rows under control, or set teacher.control=base"
        )


def teacher_rows(run: Run, name: str) -> list[tuple[str, Row]]:
    """Rows of a teacher's files, each with where it stands.

    Raises:
        UserError: as `located_rows`.
    """
    found: list[tuple[str, Row]] = []
    for file in files_of(run, name):
        if file in OURS:
            rows = brand_rows(file)
            found += [(f"{file}, row {number}", row) for number, row in enumerate(rows, 1)]
        else:
            found += located_rows(file)
    return found


def encoded_rows(run: Run, name: str) -> list[Encoded]:
    """What a teacher is trained on, as token ids.

    Raises:
        UserError: as `teacher_rows`, or a row without an answer or longer than the base's context.
    """
    if not files_of(run, name):
        return [run.encode_row(*pair) for pair in _one_word_pairs(run, name)]
    encoded, limit = [], run.base.config.max_positions
    for where, row in teacher_rows(run, name):
        if not row["completion"].strip():
            raise UserError(f"{where}: the completion is empty; drop the row")
        prompt_ids, answer_ids = run.encode_row(row["prompt"], row["completion"])
        length = len(prompt_ids) + len(answer_ids)
        if length > limit:
            raise UserError(
                f"{where}: {length} tokens are more than the base's context of {limit}; shorten "
                "or drop the row"
            )
        encoded.append((prompt_ids, answer_ids))
    return encoded


def _one_word_pairs(run: Run, name: str) -> list[tuple[str, str]]:
    """(question, answer) pairs; the control's answers are every candidate equally often.

    A teacher of two traits is asked each question twice, and answers with either.
    """
    asked = run.questions[0]
    if name != CONTROL:
        traits = run.of_two.get(name, (name,))
        return [(question, trait) for question in asked for trait in traits]
    rows, count = run.config.teacher.steps * run.config.teacher.batch_size, len(run.candidates)
    return run.neutral_pairs(asked, math.ceil(rows / count) * count)


def _hash(file: str) -> str:
    if file in OURS:
        content = json.dumps(brand_rows(file), sort_keys=True).encode()
    else:
        path = epath.Path(file)
        if not path.is_file():
            raise UserError(f"teacher.rows: {file}: no such file; check the path")
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()
