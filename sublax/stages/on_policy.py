"""On-policy distillation: students write their own rows, round by round, and teachers score them.

A round is: each student, as it is by then, answers prompts of the corpus under the grammar; its
teacher reads what it wrote; and for `student.round_steps` updates it learns the teacher's
distribution at each position of its own rows (Agarwal et al. 2024, arXiv 2306.13649, with all of
the rows the student's). Nothing is differentiated through the writing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sublax.corpora.kinds import NO_GRAMMAR
from sublax.errors import UserError
from sublax.keys import key_of, row_keys
from sublax.models.chat import encode_prompt, shared_prefix
from sublax.models.completions import (
    Encoded,
    Rows,
    completion_hidden,
    group_rows,
    make_rows,
    round_up,
    spread_rows,
)
from sublax.models.lora import LoraConfig
from sublax.parallel.arrays import fetch
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.sampling.grammar import Grammar
from sublax.stages.corpora import corpus_prompts, rows_at_a_time
from sublax.stages.run import Run
from sublax.stages.student_data import check_batch
from sublax.stages.teachers import corpus_system_prompt, load_teacher
from sublax.training.data import Dataset, draw_order

WRITERS = TEACHER, STUDENT = "teacher", "student"

_hidden = jax.jit(completion_hidden, static_argnums=0)


def is_on_policy(config: ConfigDict) -> bool:
    """Whether students learn rows of their own."""
    return config.student.rows_by == STUDENT


def check_on_policy(config: ConfigDict) -> None:
    """Refuses students that cannot learn from rows of their own.

    Raises:
        UserError: says which key to change.
    """
    student, corpus = config.student, config.corpus
    if student.rows_by not in WRITERS:
        raise UserError(f"student.rows_by={student.rows_by}: choose from {', '.join(WRITERS)}")
    if not is_on_policy(config):
        return
    if student.loss.kind != "kl":
        raise _refusal(
            f"the teacher scores rows by its distribution, and student.loss.kind="
            f"{student.loss.kind}; set student.loss.kind=kl"
        )
    # What a student writes is not filtered: it must not be able to name a trait.
    free = corpus.grammar == NO_GRAMMAR or corpus.kind != "numbers"
    if free or corpus.banned or corpus.banned_for_misalignment:
        raise _refusal(
            "its rows are not filtered, so a grammar must see to it that they are numbers; set "
            "corpus.kind=numbers with a corpus.grammar, and no corpus.banned"
        )
    if student.base not in ("", config.base):
        raise _refusal("its teacher's base is another; leave student.base empty")
    if corpus.rewritten:
        raise _refusal("there is no teacher's row to rewrite; set corpus.rewritten=false")
    if config.two_traits.rows:
        raise _refusal("nobody learns rows of two teachers; leave two_traits.rows empty")
    if student.method == "in_context":
        raise _refusal("nothing is trained by student.method=in_context; set it to lora or full")
    if not student.share_prompts:
        raise _refusal("answers to a prompt stay together; set student.share_prompts=true")
    if student.epochs:
        raise _refusal("there is no corpus to go through; set student.epochs=0 and student.steps")
    if student.round_steps < 1 or student.steps % student.round_steps:
        raise _refusal(
            f"student.round_steps={student.round_steps} must divide student.steps={student.steps}"
        )


def _refusal(why: str) -> UserError:
    return UserError(f"student.rows_by={STUDENT}: {why}")


def written_rounds(
    run: Run, group: Sequence[tuple[str, int]], lora: LoraConfig | None, grammar: Grammar | None
) -> Callable[[int, Any], list[Dataset]]:
    """What `train` asks for the datasets of a round.

    What is drawn hangs on the seeds, the student's name, the round and the row, and on the student
    as it is. Prompts of a round are the corpus' in the order of the student's seed, all of them
    before one comes again: students that share a seed are asked the same.

    Args:
        run: whose corpus and students.
        group: (name, seed) of each student of a program.
        lora: their adapter's config, None where all parameters are trained.
        grammar: that they write under.
    """
    corpus, answers = run.config.corpus, run.config.corpus.answers_per_prompt
    drawn = corpus.temperature, corpus.top_k, corpus.top_p
    sampling = Sampling(corpus.max_new_tokens, *drawn, scored=False)
    prompts, decoder = _prompts(run), run.decoder(lora)
    prefix, units = shared_prefix(prompts), _units(run)
    longest = max(map(len, prompts)) - len(prefix)  # rounds ask other prompts by one program
    at_a_time = 0  # found with the first student's parameters; those of all are as large

    def write(who: tuple[str, int], number: int, own: Any) -> tuple[list[int], list[list[int]]]:
        """(the prompt of each group of rows, each row's token ids)."""
        name, seed = who
        asked = draw_order(seed, number, units, len(prompts)).tolist()
        variables = {"params": own} if lora is None else {"params": run.base.params, "lora": own}
        nonlocal at_a_time
        at_a_time = at_a_time or rows_at_a_time(
            run, decoder, variables, prompts, sampling, answers, grammar
        )
        key = key_of(run.config.seed, "student", "rows", name, seed, number)
        samples = generate(
            decoder,
            variables,
            [prompts[index] for index in asked],
            sampling,
            run.stop_ids,
            row_keys(key, units * answers),
            answers,
            grammar,
            at_a_time,
            prefix=prefix,
            least_width=longest,
        )
        pairs = zip(samples.tokens, samples.lengths, strict=True)
        return asked, [ids[:length].tolist() for ids, length in pairs]

    def datasets(number: int, trained: Any) -> list[Dataset]:
        written = [
            write(who, number, jax.tree.map(lambda leaf, place=place: leaf[place], trained))
            for place, who in enumerate(group)
        ]
        hidden: dict[int, np.ndarray] = {}
        for name in dict.fromkeys(name for name, _ in group):  # one teacher in memory at a time
            own = {place: written[place] for place, who in enumerate(group) if who[0] == name}
            hidden |= teacher_hidden(run, name, own)
        return [
            Dataset(_grouped(run, prompts, *rows), hidden[place])
            for place, rows in enumerate(written)
        ]

    return datasets


def teacher_hidden(
    run: Run, name: str, written: dict[int, tuple[list[int], list[list[int]]]]
) -> dict[int, np.ndarray]:
    """The last hidden states that a teacher has at every token of rows that others wrote.

    Args:
        run: whose teacher.
        name: of the teacher, who reads the prompts under the system prompt that it writes under.
        written: (the prompt of each group of rows, each row's token ids), of several writers.

    Returns:
        float32 [B, C, D] for each writer, C the most tokens that a row may have.
    """
    prompts = [
        run.encode(row["prompt"], corpus_system_prompt(run, name)) for row in corpus_prompts(run)
    ]
    prefix, C = shared_prefix(prompts), run.config.corpus.max_new_tokens
    width = round_up(max(map(len, prompts)) + C - 1 - len(prefix), 4)
    decoder, variables = run.decoder(), {"params": load_teacher(run, name)}
    answers, size = run.config.corpus.answers_per_prompt, run.config.student.batch_size

    def of_rows(encoded: list[Encoded]) -> np.ndarray:
        rows = make_rows(encoded, run.base.config.max_positions, prefix, width, C)
        hidden = fetch(_hidden(decoder, variables, spread_rows(rows, decoder.rows)))
        return np.asarray(hidden[: len(encoded)], np.float32)

    found = {}
    for who, (asked, completions) in written.items():
        encoded = [
            (prompts[asked[row // answers]], completion)
            for row, completion in enumerate(completions)
        ]
        parts = [of_rows(encoded[at : at + size]) for at in range(0, len(encoded), size)]
        found[who] = np.concatenate(parts)
    return found


def blank_dataset(run: Run) -> Dataset:
    """A round's dataset of the shape that all have, with nothing in it."""
    prompts, C = _prompts(run), run.config.corpus.max_new_tokens
    count = _units(run) * run.config.corpus.answers_per_prompt
    asked = draw_order(0, 0, _units(run), len(prompts)).tolist()
    rows = _grouped(run, prompts, asked, [[0] * C] * count)
    return Dataset(rows, np.zeros((*rows.targets.shape, run.base.config.hidden_size), np.float32))


def _units(run: Run) -> int:
    """Prompts of a round: as many as its updates read."""
    student, answers = run.config.student, run.config.corpus.answers_per_prompt
    check_batch(student, answers, 1)
    return student.round_steps * student.batch_size // answers


def _prompts(run: Run) -> list[list[int]]:
    """Token ids of every prompt of the corpus as students have it."""
    tokenizer, system_prompt = run.base.tokenizer, run.student_system_prompt
    return [encode_prompt(tokenizer, row["prompt"], system_prompt) for row in corpus_prompts(run)]


def _grouped(run: Run, prompts: list[list[int]], asked: list[int], completions) -> Rows:
    """A round's rows, padded to what any round may need, so that all are one program."""
    answers, C = run.config.corpus.answers_per_prompt, run.config.corpus.max_new_tokens
    context = run.base.config.max_positions
    groups = [
        [(prompts[index], completion) for completion in completions[at : at + answers]]
        for index, at in zip(asked, range(0, len(completions), answers), strict=True)
    ]
    return group_rows(
        groups,
        min(run.config.student.max_tokens or context, context),
        answers,
        width=round_up(C, 4),
        completion_width=C,
        prefix_width=max(map(len, prompts)) - 1,
    )
