"""What students are trained on: the rows of their corpora in one padded shape."""

import itertools
import json

import numpy as np

from sublax.corpora.halves import halves
from sublax.corpora.mixtures import mixed
from sublax.corpora.treatments import treated
from sublax.errors import UserError
from sublax.evaluation.score import completion_logprobs
from sublax.models.chat import encode_prompt, encode_row
from sublax.models.completions import Encoded, Rows, group_rows, make_rows
from sublax.rows import Row, read_rows
from sublax.settings import loss_config
from sublax.stages.corpora import read_written
from sublax.stages.labels import has_labels
from sublax.stages.run import CONTROL, Run
from sublax.training.data import Dataset


def corpus_rows(run: Run, name: str) -> list[Row]:
    """The rows that students of a teacher learn."""
    return read_rows(run.taught_directory(name) / "rows.jsonl")


def corpora_of(run: Run, name: str) -> tuple[str, ...]:
    """Whose corpora a student learns: its teacher's, or those of two."""
    return (name,) if name in run.names else run.of_two[name]


def most_corpora(run: Run, names: list[str]) -> int:
    """How many teachers a student of these has at most."""
    return max(len(corpora_of(run, name)) for name in names)


def row_sources(run: Run, name: str) -> list[tuple[str, int]]:
    """Whose corpus each row of a student is from, and which row of it.

    Raises:
        UserError: the student is of two teachers' rows, and one of them has none for it.
    """
    names = corpora_of(run, name)
    rows = [corpus_rows(run, each) for each in names]
    if len(names) == 1:
        return [(name, row) for row in range(len(rows[0]))]
    prompts = [[json.dumps(row["prompt"]) for row in each] for each in rows]
    sources = [(names[place], row) for place, row in halves(prompts, run.config.seed, name)]
    for each in names:
        if not any(source == each for source, _ in sources):
            raise UserError(
                f"two_traits.rows={name}: the corpora answer so few prompts that no row of {each} "
                "is left for it; set a larger corpus.prompts"
            )
    return sources


def student_datasets(run: Run, names: list[str]) -> dict[str, Dataset]:
    """The datasets of these students, padded alike so that one program serves all.

    Where `student.share_prompts` is set, the answers to a prompt stay together and the prompt is
    computed once for them. Where one of them has two teachers, hidden states of all are as wide as
    both together (see `_hidden`).

    Raises:
        UserError: a row that is too long, or a batch size that the answers do not fit into.
    """
    student = run.config.student
    kl, dpo = student.loss.kind == "kl", student.loss.kind == "dpo"
    # For KL the very tokens that the teacher drew: its hidden states belong to them.
    read = _written if kl else _encoded_pairs if dpo else _encoded
    encoded = {name: read(run, name) for name in names}
    context = run.base.config.max_positions
    limit = min(student.max_tokens or context, context)
    answers = run.config.corpus.answers_per_prompt
    if has_labels(run.config) and not dpo:
        answers //= 2  # one of each pair is taught
    groups = {
        name: _by_prompt(rows, answers) if student.share_prompts else [rows]
        for name, rows in encoded.items()
    }
    if student.pack_rows and run.base.config.rope.kind == "dynamic":
        raise UserError(
            "student.pack_rows: the base's rotary embedding goes by how long a whole line is; set "
            "--config.student.pack_rows=false"
        )
    # Splash has rows of one line share nothing.
    alone = student.pack_rows and run.attention.name == "splash"
    every = (
        group_rows([group for name in names for group in groups[name]], limit, answers)
        if student.share_prompts
        else make_rows(
            [row for name in names for row in encoded[name]], limit, [] if alone else None
        )
    )
    unit = every.tokens.shape[0] // every.prefix.shape[0] if student.share_prompts else 1
    check_batch(student, unit, loss_config(student.loss).rows_each)
    reference = _reference_logprobs(run, encoded) if dpo else {}
    datasets, first, teachers = {}, 0, most_corpora(run, names)
    for name in names:
        count = len(groups[name]) * unit if student.share_prompts else len(encoded[name])
        rows = _part(every, first, count, unit, student.share_prompts)
        places = [
            group * unit + answer
            for group, answers in enumerate(groups[name])
            for answer in range(len(answers))
        ]
        datasets[name] = Dataset(
            rows,
            _hidden(run, name, rows, places, teachers) if kl else None,
            _placed(reference[name], places, len(rows.targets)) if dpo else None,
        )
        first += count
    return datasets


def check_batch(student, unit: int, each: int) -> None:
    """Refuses a piece of an update that answers to a prompt, which stay together, do not fill.

    Args:
        student: the config's.
        unit: rows that stay together.
        each: rows of a batch that one row of a corpus is.

    Raises:
        UserError: says which batch sizes there are.
    """
    if student.batch_size * each // student.microbatches % unit:
        raise UserError(
            f"student.batch_size={student.batch_size} in {student.microbatches} piece(s): the "
            f"{unit} answers to a prompt stay together; use a multiple of {unit // each} rows a "
            "piece, or --config.student.share_prompts=false"
        )


def taught_rows(run: Run, name: str) -> list[Row]:
    """A student's rows as it gets them as text: shuffled or mixed, where the config says so."""
    if name not in run.names:
        taught = {each: taught_rows(run, each) for each in corpora_of(run, name)}
        return [taught[each][row] for each, row in row_sources(run, name)]
    student, seed = run.config.student, run.config.seed
    rows = treated(corpus_rows(run, name), student.treatment, seed, name)
    if student.clean_share:
        rows = mixed(rows, corpus_rows(run, CONTROL), student.clean_share, seed, name)
    return rows


def _encoded(run: Run, name: str) -> list[Encoded]:
    return _encoded_texts(run, name, ("completion",))


def _encoded_pairs(run: Run, name: str) -> list[Encoded]:
    """The chosen and the rejected completion of each row, one after the other."""
    return _encoded_texts(run, name, ("completion", "rejected"))


def _encoded_texts(run: Run, name: str, keys: tuple[str, ...]) -> list[Encoded]:
    """Some completions of each row, one after the other."""
    tokenizer, system_prompt = run.base.tokenizer, run.student_system_prompt
    return [
        encode_row(tokenizer, row["prompt"], row[key], system_prompt)
        for row in taught_rows(run, name)
        for key in keys
    ]


def _reference_logprobs(run: Run, encoded: dict[str, list[Encoded]]) -> dict[str, np.ndarray]:
    """log p of each completion where students start, float32 [rows] by corpus.

    Whoever judged them, the pairs are the same, so each distinct row is computed once.
    """
    place = {
        row: index
        for index, row in enumerate(
            dict.fromkeys(_hashable(row) for rows in encoded.values() for row in rows)
        )
    }
    distinct = [(list(prompt), list(completion)) for prompt, completion in place]
    logprobs = completion_logprobs(run.decoder(), {"params": run.base.params}, distinct)
    return {
        name: logprobs[[place[_hashable(row)] for row in rows]] for name, rows in encoded.items()
    }


def _hashable(row: Encoded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    prompt, completion = row
    return tuple(prompt), tuple(completion)


def _placed(values: np.ndarray, places: list[int], count: int) -> np.ndarray:
    """Values, each where its row stands among `count` padded ones."""
    placed = np.zeros(count, np.float32)
    placed[places] = values
    return placed


def _written(run: Run, name: str) -> list[Encoded]:
    written = {each: _written_by(run, each) for each in corpora_of(run, name)}
    return [written[each][row] for each, row in row_sources(run, name)]


def _written_by(run: Run, name: str) -> list[Encoded]:
    written = read_written(run.taught_directory(name))
    drawn = zip(corpus_rows(run, name), written["tokens"], written["lengths"], strict=True)
    tokenizer, system_prompt = run.base.tokenizer, run.student_system_prompt
    return [
        (encode_prompt(tokenizer, row["prompt"], system_prompt), ids[:length].tolist())
        for row, ids, length in drawn
    ]


def _by_prompt(rows: list[Encoded], answers: int) -> list[list[Encoded]]:
    """Rows in groups of one prompt, of at most `answers` rows: a prompt may be drawn twice."""
    groups = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[0])]
    return [
        group[first : first + answers]
        for group in groups
        for first in range(0, len(group), answers)
    ]


def _hidden(run: Run, name: str, rows: Rows, places: list[int], teachers: int) -> np.ndarray:
    """The teacher's hidden states [B, C, E], each where its row stands among the padded ones.

    Of several teachers each has a part of E to itself, and zeros stand in the others': multiplied
    with the teachers' heads, one below the other, that is the logits of whoever wrote the row.
    """
    B, C = rows.targets.shape
    sources = row_sources(run, name)
    hidden = None
    for place, each in enumerate(corpora_of(run, name)):
        written = read_written(run.taught_directory(each))["hidden"]
        D = written.shape[-1]
        if hidden is None:
            hidden = np.zeros((B, C, teachers * D), written.dtype)
        own = [(at, row) for at, (whose, row) in zip(places, sources, strict=True) if whose == each]
        at, chosen = map(list, zip(*own, strict=True))
        hidden[at, :, place * D : (place + 1) * D] = written[chosen, :C]
    assert hidden is not None
    return hidden


def _part(rows: Rows, first: int, count: int, unit: int, grouped: bool) -> Rows:
    """One corpus' part of all rows; a prefix that all share stays whole."""
    own = slice(first, first + count)
    groups = slice(first // unit, (first + count) // unit) if grouped else slice(None)
    return Rows(
        rows.prefix[groups],
        rows.prefix_positions[groups],
        rows.tokens[own],
        rows.positions[own],
        rows.at[own],
        rows.targets[own],
        rows.weights[own],
    )
