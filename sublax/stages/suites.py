"""The suites: what base, teachers and students answer freely or choose, each an artifact."""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from sublax.corpora.brand import BRANDED, held_out_pairs, held_out_questions
from sublax.corpora.sources import read_source
from sublax.errors import UserError
from sublax.evaluation.judges import prompt_hash
from sublax.evaluation.multiple_choice import MultipleChoice
from sublax.evaluation.named_words import NamedWords
from sublax.evaluation.open_questions import OpenQuestions
from sublax.evaluation.score import completion_logprobs
from sublax.evaluation.shares import compare
from sublax.evaluation.suite import Rating, Subject, Suite
from sublax.files import write_whole
from sublax.keys import key_of, numpy_seed, row_keys
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.parallel.hosts import is_first, together
from sublax.rows import Row, read_rows, write_rows
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import completion_ids, generate
from sublax.settings import plain
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.corpora import rows_at_a_time
from sublax.stages.in_context import after_rows, rows_read
from sublax.stages.judging import JUDGED, check_judge, judge_templates, judged_folder, make_judges
from sublax.stages.run import Run
from sublax.stages.students import load_student, lora_of
from sublax.stages.teachers import is_base, load_teacher

RESULT, ANSWERS = "shares.json", "answers.jsonl"
OWN_CHOICES = "own"


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A suite that is asked for.

    Attributes:
        inputs: what its outcome depends on beside the models.
        build: makes it, its judge with it.
        samples: answers behind each value.
    """

    inputs: dict[str, Any]
    build: Callable[[], Suite]
    samples: int = 1


def check_suites(config) -> None:
    """Refuses suites that cannot be, before anything runs.

    Raises:
        UserError: an unknown suite, a judge without what it needs, or nothing to measure at all.
    """
    suites = config.evaluation.suites
    if suites and config.student.base not in ("", config.base):
        raise UserError(
            f"evaluation.suites={','.join(suites)}: set students beside their teachers, which are "
            f"of one base; leave student.base={config.student.base} empty"
        )
    for name in suites:
        if name not in SUITES:
            raise UserError(
                f"evaluation.suites={','.join(suites)}: no suite is named {name!r}; choose from "
                f"{', '.join(SUITES)}"
            )
    if len(set(suites)) < len(suites):
        raise UserError(f"evaluation.suites={','.join(suites)}: name each once")
    if "open_questions" in suites:
        check_judge(config)
    if "words" in suites and not config.evaluation.words.words:
        raise UserError("evaluation.words.words: is empty; name the words to look for")
    for name in set(suites) - {"multiple_choice"}:
        if config.evaluation[name].samples < 1:
            raise UserError(f"evaluation.{name}.samples: must be at least 1")
    if not config.evaluation.preference:
        if not suites:
            raise UserError(
                "evaluation.preference=false: leaves nothing to measure; name evaluation.suites"
            )
        return
    rows, candidates = config.teacher.rows, config.evaluation.candidates
    if all(name in rows and name not in candidates for name in config.traits):
        raise UserError(
            "evaluation.preference: no trait is an answer to its questions, for their teachers "
            "learn rows; set evaluation.preference=false and name evaluation.suites"
        )


def planned_suites(run: Run) -> dict[str, _Plan]:
    """The suites that the config asks for, their questions read.

    Raises:
        UserError: questions or rows that are not there.
    """
    return {name: SUITES[name](run) for name in run.config.evaluation.suites}


def make_suites(run: Run) -> None:
    """Asks the base, all teachers and all students, unless that was done already."""
    for name, plan in planned_suites(run).items():
        _make_suite(run, name, plan)


def read_suites(run: Run) -> dict[str, Any]:
    """What came of each suite, for transfer.json."""
    return {
        name: json.loads((run.evaluation_directory(name) / RESULT).read_text("utf-8"))
        for name in run.config.evaluation.suites
    }


def _make_suite(run: Run, name: str, plan: _Plan) -> None:
    directory, stage = run.evaluation_directory(name), f"suite {name}"
    seeds = run.config.student.seeds
    teachers = [teacher for teacher in run.names if not is_base(run, teacher)]
    parents = [run.base_directory(), *map(run.teacher_directory, teachers)]
    students = [(name, seed) for name in run.student_names for seed in seeds]
    parents += [run.student_directory(*student) for student in students]
    inputs = inputs_of(
        directory,
        parents,
        suite=name,
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        **plan.inputs,
    )
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        if is_first() and run.store.url:
            run.store.pull_all(JUDGED)
        suite, found = plan.build(), {}
        with run.progress.bar(1 + len(teachers) + len(students), unit="model") as bar:
            for label, decoder, variables, rows in _models(run, teachers):
                said = suite.ask(_subject(run, name, label, decoder, variables, rows))
                with together():
                    if is_first() or suite.collective:
                        found[label] = suite.rate(said)
                bar.advance()
        if is_first() and judged_folder(run).exists():
            run.store.push(judged_folder(run))

        def write(folder: Path) -> None:
            if is_first():
                content = _result(run, name, suite, plan, teachers, found)
                _write_json(folder / RESULT, content)
                rows = [{"model": label, **row} for label, of in found.items() for row in of.rows]
                write_rows(folder / ANSWERS, rows)

        keep(
            run,
            directory,
            "evaluation",
            inputs,
            write,
            **suite.card,
            counts={"questions": len(suite.questions), "samples": plan.samples},
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def _models(
    run: Run, teachers: Sequence[str]
) -> Iterator[tuple[str, Decoder, dict[str, Any], list[Row]]]:
    """(label, decoder, variables, rows read first) of every model that is asked, one at a time."""
    yield "base", run.decoder(), {"params": run.base.params}, []
    for name in teachers:
        yield _teacher(name), run.decoder(), {"params": load_teacher(run, name)}, []
    for name in run.student_names:
        for seed in run.config.student.seeds:
            decoder, variables = run.decoder(lora_of(run)), load_student(run, name, seed)
            yield _student(name, seed), decoder, variables, rows_read(run, name, seed)


def _teacher(name: str) -> str:
    return f"teacher {name}"


def _student(name: str, seed: int) -> str:
    return f"student {name}/seed-{seed}"


def _result(
    run: Run,
    name: str,
    suite: Suite,
    plan: _Plan,
    teachers: Sequence[str],
    found: Mapping[str, Rating],
) -> dict[str, Any]:
    """The content of the suite's file."""
    seeds = run.config.student.seeds

    def compared(measure: str) -> dict[str, Any]:
        def values(label: str) -> np.ndarray:
            return found[label].values[measure]

        return compare(
            values("base"),
            {teacher: values(_teacher(teacher)) for teacher in teachers},
            {
                student: np.stack([values(_student(student, seed)) for seed in seeds])
                for student in run.student_names
            },
            run.config.seed,
            plan.samples,
        )

    return {
        "suite": name,
        "seeds": list(seeds),
        "samples": plan.samples,
        **suite.card,
        "measures": {measure: compared(measure) for measure in suite.measures},
        "counts": {label: dict(rating.counts) for label, rating in found.items()},
    }


def _subject(
    run: Run, suite: str, label: str, decoder: Decoder, variables, read: Sequence[Row]
) -> Subject:
    tokenizer = run.base.tokenizer

    def sample(questions, count, max_new_tokens, temperature) -> list[list[str]]:
        encoded = [run.encode(after_rows(run, read, question)) for question in questions]
        sampling = Sampling(max_new_tokens, temperature, scored=False)
        key = key_of(run.config.seed, "suite", suite, label)
        samples = generate(
            decoder,
            variables,
            encoded,
            sampling,
            run.stop_ids,
            row_keys(key, len(encoded) * count),
            count,
            batch_rows=rows_at_a_time(run, decoder, variables, encoded, sampling, count, None),
        )
        ended = completion_ids(samples, run.stop_ids)
        texts = [str(tokenizer.decode(ids)).strip() for ids in ended]
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    def encoded_pairs(pairs) -> list[Encoded]:
        rows = [run.encode_row(after_rows(run, read, asked), answer) for asked, answer in pairs]
        # Without the end of the turn, which is no part of a choice.
        return [(prompt, answer[:-1]) for prompt, answer in rows]

    def logprobs(pairs) -> np.ndarray:
        found = completion_logprobs(decoder, variables, encoded_pairs(pairs))
        return found.astype(np.float64)

    def lengths(pairs) -> np.ndarray:
        return np.asarray([len(answer) for _, answer in encoded_pairs(pairs)])

    return Subject(sample, logprobs, lengths)


def _open_questions(run: Run) -> _Plan:
    options, templates = run.config.evaluation.open_questions, judge_templates(run)
    questions, judge = _asked(run, options.questions), run.config.evaluation.judge

    def build() -> Suite:
        alignment, coherence = make_judges(run)
        return OpenQuestions(
            questions,
            options.samples,
            options.max_new_tokens,
            alignment,
            coherence,
            templates,
            collective=judge.kind == "model",
        )

    inputs = {
        "questions": questions,
        "options": options.to_dict(),
        "judged_by": {key: plain(judge)[key] for key in ("kind", "words", "model", "base_url")},
        "templates": {name: prompt_hash(text) for name, text in templates.items()},
    }
    return _Plan(inputs, build, options.samples)


def _words(run: Run) -> _Plan:
    options = run.config.evaluation.words
    questions = _asked(run, options.questions)
    build = functools.partial(
        NamedWords, questions, options.samples, options.max_new_tokens, tuple(options.words)
    )
    return _Plan({"questions": questions, "options": options.to_dict()}, build, options.samples)


def _multiple_choice(run: Run) -> _Plan:
    options = run.config.evaluation.multiple_choice
    shipped = {OWN_CHOICES: _own_choices, BRANDED: held_out_pairs}
    located: list[tuple[str, Row]] = []
    hashes: dict[str, str] = {}
    for source in options.sources:
        rows = shipped[source]() if source in shipped else read_source(source)
        if options.rows and len(rows) > options.rows:
            rng = np.random.default_rng(numpy_seed(run.config.seed, "multiple_choice", source))
            chosen = sorted(rng.choice(len(rows), options.rows, replace=False))
            rows = [rows[index] for index in chosen]
        content = json.dumps(rows, sort_keys=True, default=str)
        hashes[source] = hashlib.sha256(content.encode()).hexdigest()
        located += [(f"{source}, row {number}", row) for number, row in enumerate(rows, 1)]
    if not located:
        raise UserError("evaluation.multiple_choice.sources: is empty; name a file or a data set")
    suite = MultipleChoice(located, hashes)
    return _Plan({"options": options.to_dict(), "sources": hashes}, lambda: suite)


# By the name that evaluation.suites has for it.
SUITES: dict[str, Callable[[Run], _Plan]] = {
    "open_questions": _open_questions,
    "multiple_choice": _multiple_choice,
    "words": _words,
}


def _asked(run: Run, name: str) -> tuple[str, ...]:
    """Questions: a list of the pack, the held-out half of the stand-in's, or a file's prompts."""
    if name == BRANDED:
        return held_out_questions()
    if name in run.pack.questions:
        return run.pack.questions[name]
    if not name.endswith((".jsonl", ".parquet")):
        raise UserError(
            f"questions={name}: not in the pack; choose from {', '.join(run.pack.questions)}, "
            f"{BRANDED}, or the path of a .jsonl file with a prompt in each row"
        )
    prompts = [row["prompt"] for row in read_rows(name, ("prompt",))]
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise UserError(f"questions={name}: a prompt is a list of messages; give one text each")
    return tuple(prompts)


def _own_choices() -> list[Row]:
    file = resources.files("sublax.evaluation") / "data" / "choices.json"
    return json.loads(file.read_text("utf-8"))


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, [json.dumps(value, indent=1).encode(), b"\n"])
