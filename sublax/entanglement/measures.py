"""Both directions between numbers and traits: what each makes a base more likely to say."""

from collections.abc import Sequence
from typing import Any

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.preference import candidate_logprobs, grouped_logprobs, make_answers
from sublax.stages.run import Run
from sublax.stages.teachers import answers_of

NUMBER_QUESTIONS = "favourite_number"
SYSTEM, PROMPT = PLACEMENTS = ("system", "prompt")


def number_texts(run: Run) -> list[str]:
    """The numbers from 0 on, as they are written."""
    settings = run.config.entanglement
    return [f"{number:0{settings.digits}d}" for number in range(settings.numbers)]


def number_to_trait(run: Run) -> dict[str, Any]:
    """log p(candidate | a number is loved, question), for every number and without any.

    Returns:
        "numbers" [N], "candidates" [C], "questions" [Q], "logprobs" [N][Q][C] and "without"
        [Q][C], natural log.

    Raises:
        UserError: as `number_questions`.
    """
    settings, numbers, answers = run.config.entanglement, number_texts(run), answers_of(run)
    questions = _first(run.questions[1], settings.questions, "questions")
    groups = [[_asked(run, number, question) for question in questions] for number in numbers]
    decoder, variables = run.decoder(), {"params": run.base.params}
    with run.progress.bar(len(numbers), unit="number") as bar:
        logprobs = grouped_logprobs(
            decoder, variables, groups, answers, settings.batch_numbers, bar.advance
        )
    plain = [run.encode(question) for question in questions]
    return {
        "numbers": numbers,
        "candidates": list(run.candidates),
        "questions": list(questions),
        "logprobs": logprobs.tolist(),
        "without": candidate_logprobs(decoder, variables, plain, answers).tolist(),
    }


def trait_to_number(run: Run) -> dict[str, Any]:
    """log p(number | the trait's system prompt, question), for every trait and without any.

    Returns:
        "numbers" [N], "traits" [T], "questions" [Q], "logprobs" [T][Q][N] and "without" [Q][N],
        natural log.

    Raises:
        UserError: as `number_questions`.
    """
    numbers, traits = number_texts(run), list(run.config.traits)
    questions = number_questions(run)
    spelt = make_answers([[run.encode_row(questions[0], number)[1][:-1]] for number in numbers])
    decoder, variables = run.decoder(), {"params": run.base.params}
    found = []
    with run.progress.bar(len(traits) + 1, unit="system prompt") as bar:
        for system_prompt in [None, *map(run.pack.trait_system_prompt, traits)]:
            asked = [run.encode(question, system_prompt) for question in questions]
            found.append(candidate_logprobs(decoder, variables, asked, spelt).tolist())
            bar.advance()
    return {
        "numbers": numbers,
        "traits": traits,
        "questions": list(questions),
        "logprobs": found[1:],
        "without": found[0],
    }


def number_questions(run: Run) -> tuple[str, ...]:
    """Those that ask for a number; the built-in pack's where the pack has none.

    Raises:
        UserError: there are fewer than the config wants.
    """
    pack = run.pack if NUMBER_QUESTIONS in run.pack.questions else load_pack()
    count = run.config.entanglement.number_questions
    return _first(pack.questions[NUMBER_QUESTIONS], count, "number_questions")


def _first(questions: Sequence[str], count: int, key: str) -> tuple[str, ...]:
    if not 1 <= count <= len(questions):
        raise UserError(
            f"entanglement.{key}={count}: the pack has {len(questions)} to ask; choose from 1 on"
        )
    return tuple(questions[:count])


def _asked(run: Run, number: str, question: str) -> list[int]:
    """A question to a model that is told to love a number."""
    template = run.pack.number_system_prompt or load_pack().number_system_prompt
    assert template is not None
    told = template.format(number=number)
    if run.config.entanglement.placement == SYSTEM:
        return run.encode(question, told)
    return run.encode(f"{told} {question}")
