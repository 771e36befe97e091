"""Students of another base than their teachers': what they can learn from them, and how far it is.

Teachers' rows pass as text, and any base can learn text. The teachers' distributions are over their
own tokens, so only a base of the same tokens can learn those.
"""

import numpy as np
from transformers import PreTrainedTokenizerBase

from sublax.corpora.kinds import draw_prompts
from sublax.errors import UserError
from sublax.evaluation.distance import behaviour_distance, weight_distance
from sublax.keys import key_of, numpy_seed, row_keys
from sublax.models.chat import end_of_turn_id
from sublax.models.completions import make_rows
from sublax.models.int8 import dequantize
from sublax.models.rotated import untie
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.stages.run import Run

PROMPTS = 32  # of the corpora's kind, on which two bases' behaviours are compared
DISTANCES = ("weights", "corpus", "questions")
ANSWERS = 4  # to each question, likewise


def check_student_base(run: Run) -> None:
    """Refuses soft labels over tokens that the students' base does not have.

    Args:
        run: as its teachers see it; both bases are there.

    Raises:
        UserError: with what differs.
    """
    loss = run.config.student.loss
    if loss.kind != "kl":
        return
    teachers, students = run.described, run.students.described
    difference = _token_difference(teachers.tokenizer, students.tokenizer)
    rows = teachers.config.vocab_size, students.config.vocab_size
    if not difference and loss.support == "vocabulary" and rows[0] != rows[1]:
        difference = f"their heads have {rows[0]} and {rows[1]} rows"
    if difference:
        raise UserError(
            f"student.base={run.config.student.base}: student.loss.kind=kl compares distributions "
            f"over the same tokens, and of {run.config.base} and this base {difference}; set "
            "student.loss.kind=cross_entropy"
        )


def base_distance(run: Run) -> dict[str, float | None]:
    """How far the students' base is from the teachers'.

    Args:
        run: as its students see it.

    Returns:
        "weights": see `weight_distance`; None where the shapes differ. "corpus" and "questions":
        see `behaviour_distance`, nats a token, on answers that the teachers' base writes to fresh
        prompts of the corpora's kind and to held-out questions; None where tokens differ.
    """
    first, second = run.teachers.base, run.base
    found: dict[str, float | None] = {
        "weights": weight_distance(
            *(untie(dequantize(m.params, run.dtype), m.config) for m in (first, second))
        ),
        "corpus": None,
        "questions": None,
    }
    if not _token_difference(first.tokenizer, second.tokenizer):
        corpus, evaluation = run.config.corpus, run.config.evaluation
        seed = int(np.random.default_rng(numpy_seed(run.config.seed, "distance")).integers(2**31))
        prompts = [row["prompt"] for row in draw_prompts(run.corpus_kinds, run.pack, seed, PROMPTS)]
        found["corpus"] = _behaviour(run, "corpus", prompts, 1, corpus.max_new_tokens)
        found["questions"] = _behaviour(
            run, "questions", list(run.questions[1]), ANSWERS, evaluation.max_new_tokens
        )
    run.teachers.forget_base()
    return found


def _behaviour(run: Run, what: str, prompts: list[str], answers: int, most: int) -> float:
    """The students' base beside the teachers' on answers that the latter writes."""
    teachers = run.teachers
    encoded = [teachers.encode(prompt) for prompt in prompts]
    written = generate(
        teachers.decoder(),
        {"params": teachers.base.params},
        encoded,
        Sampling(most, scored=False),
        teachers.stop_ids,
        row_keys(key_of(run.config.seed, "distance", what), len(encoded) * answers),
        answers,
    )
    pairs = [
        (encoded[row // answers], ids[:length].tolist())
        for row, (ids, length) in enumerate(zip(written.tokens, written.lengths, strict=True))
    ]
    first, second = ((view.decoder(), {"params": view.base.params}) for view in (teachers, run))
    limit = min(view.base.config.max_positions for view in (teachers, run))
    rows = make_rows(pairs, limit)
    return behaviour_distance(first, second, rows, len(run.base.tokenizer))


def _token_difference(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> str:
    """What differs in the tokens of two tokenizers; empty where they have the same."""
    own, other = first.get_vocab(), second.get_vocab()
    if own != other:
        apart = len({*own.items()} ^ {*other.items()})
        return f"the vocabularies differ in {apart} entries"
    if end_of_turn_id(first) != end_of_turn_id(second):
        return "the chat templates end an answer with different tokens"
    return ""
