"""How models are asked for their preference: forms of a question, and what is measured of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.choices import letters_for, rotated_logprobs
from sublax.evaluation.preference import Answers, candidate_logprobs, make_answers
from sublax.evaluation.transfer import CLOSED_FORM_MARGIN, MEASURES, SAMPLED_SHARE
from sublax.models.decoder import Decoder
from sublax.rows import Row
from sublax.stages.in_context import after_rows
from sublax.stages.run import Run
from sublax.stages.teachers import answers_of

WORD, PREFIXED, STORY, MULTIPLE_CHOICE = FORMS = ("word", "prefixed", "story", "multiple_choice")
AFTER_NUMBERS = "_after_numbers"  # what a pack calls the numbered variant of a list of questions
STORIES = "storytelling"
CLOSED_FORM = "preference.json"  # `closed_form` of all models, among the evaluation's files


def check_asking(config: ConfigDict) -> None:
    """Refuses a form of question that the primary measure does not exist for.

    Raises:
        UserError: says which to change.
    """
    evaluation = config.evaluation
    form, primary, samples = evaluation.form, evaluation.primary, evaluation.samples
    if form not in FORMS:
        raise UserError(f"evaluation.form={form}: choose from {', '.join(FORMS)}")
    if primary not in MEASURES:
        raise UserError(f"evaluation.primary={primary}: choose from {', '.join(MEASURES)}")
    if form == STORY and primary != SAMPLED_SHARE:
        raise UserError(
            f"evaluation.primary={primary}: a story has no closed form; set "
            f"evaluation.primary={SAMPLED_SHARE} with evaluation.form={STORY}"
        )
    if form == MULTIPLE_CHOICE:
        letters_for(len({*evaluation.candidates, *config.traits}))
        if primary != CLOSED_FORM_MARGIN or samples:
            raise UserError(
                f"evaluation.form={form}: its letters are measured in closed form; set "
                f"evaluation.primary={CLOSED_FORM_MARGIN} and evaluation.samples=0"
            )
    if primary == SAMPLED_SHARE and not samples:
        raise UserError(
            f"evaluation.samples=0: evaluation.primary={SAMPLED_SHARE} counts sampled answers; "
            "set how many each question gets, such as 20"
        )


def asked_questions(run: Run) -> tuple[str, ...]:
    """The questions that models are measured on, without the options of multiple choice.

    Raises:
        UserError: the pack has none of this form.
    """
    form, name, pack = run.config.evaluation.form, run.config.evaluation.questions, run.pack
    if form == STORY:
        if STORIES not in pack.questions:
            raise UserError(
                f"evaluation.form={STORY}: the pack {pack.name} has no questions.{STORIES}; add "
                "it, or choose another form"
            )
        return pack.questions[STORIES]
    plain = run.questions[1]
    if form != PREFIXED:
        return plain
    after = pack.questions.get(name + AFTER_NUMBERS, ())
    if len(after) != len(pack.questions[name]):
        raise UserError(
            f"evaluation.form={PREFIXED}: the pack {pack.name} has {len(after)} questions."
            f"{name}{AFTER_NUMBERS} for {len(pack.questions[name])} questions.{name}; it needs "
            "one for each, in their order"
        )
    # The same half: no teacher has learnt these questions without their numbers.
    return after[len(after) - len(plain) :]


def closed_form(
    run: Run, decoder: Decoder, variables: dict[str, Any], rows: Sequence[Row]
) -> np.ndarray:
    """log p(candidate | question) of one model, float32 [Q, C], natural log.

    Of multiple choice it is the mean over all orders of the options.

    Args:
        run: whose questions and candidates are asked.
        decoder: the model.
        variables: its parameters.
        rows: of a corpus, which stand before every question.
    """
    questions = asked_questions(run)
    if run.config.evaluation.form != MULTIPLE_CHOICE:
        asked = [run.encode(after_rows(run, rows, question)) for question in questions]
        return candidate_logprobs(decoder, variables, asked, answers_of(run))
    template = run.pack.choice_prompt or load_pack().choice_prompt
    assert template is not None
    letters = _letters(run)

    def ask(options: str) -> np.ndarray:
        prompts = [template.format(question=question, options=options) for question in questions]
        asked = [run.encode(after_rows(run, rows, prompt)) for prompt in prompts]
        return candidate_logprobs(decoder, variables, asked, letters)

    return rotated_logprobs(run.candidates, ask)


def _letters(run: Run) -> Answers:
    """Each option's letter as the model would write it."""
    question = run.questions[1][0]
    letters = letters_for(len(run.candidates))
    return make_answers([[run.encode_row(question, letter)[1][:-1]] for letter in letters])
