"""The evaluation: every student's preference in closed form, by sampling, or both."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from sublax.artifact import versions
from sublax.corpora.packs import inflections
from sublax.evaluation.answers import question_shares, sampled_shares
from sublax.evaluation.transfer import CLOSED_FORM_MARGIN, transfer_matrix
from sublax.evaluation.two_traits import two_traits
from sublax.files import write_whole
from sublax.keys import key_of, row_keys
from sublax.models.decoder import Decoder
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import completion_ids, generate
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.asking import CLOSED_FORM, STORY, asked_questions, closed_form
from sublax.stages.corpora import rows_at_a_time
from sublax.stages.in_context import after_rows, rows_read
from sublax.stages.run import Run
from sublax.stages.soft_prompts import read_soft_prompts
from sublax.stages.student_base import DISTANCES, base_distance
from sublax.stages.students import load_student, lora_of
from sublax.stages.suites import read_suites

DISTANCE = "distance.json"
SAMPLED = "sampled.json"
# Its keys of the config's evaluation; the others are of the suites.
_OWN = ("candidates", "questions", "form", "samples", "max_new_tokens", "preference")


def evaluate(run: Run) -> None:
    """Measures the base and all students, unless that was done already or is not asked for."""
    if not run.config.evaluation.preference:
        return None
    directory, evaluation = run.evaluation_directory(), run.config.evaluation
    students = [(name, seed) for name in run.student_names for seed in run.config.student.seeds]
    bases = dict.fromkeys((run.base_directory(), run.teachers.base_directory()))
    inputs = inputs_of(
        directory,
        [*bases, *(run.student_directory(*who) for who in students)],
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        evaluation={key: evaluation[key] for key in _OWN},
        candidates=run.candidates,
    )
    if is_done(run, directory, inputs):
        return run.progress.skip("evaluation")
    started = time.monotonic()
    with run.progress.stage("evaluation"):
        questions, lora = asked_questions(run), lora_of(run)
        logprobs: dict[str, Any] = {
            "base": None,
            "students": {name: [] for name in run.student_names},
        }
        sampled: dict[str, Any] = {}
        with run.progress.bar(len(students) + 1, unit="model") as bar:
            for name, seed in [("base", 0), *students]:
                is_base = name == "base"
                decoder = run.decoder(None if is_base else lora)
                variables = (
                    {"params": run.base.params} if is_base else load_student(run, name, seed)
                )
                rows = [] if is_base else rows_read(run, name, seed)
                if evaluation.form != STORY:
                    found = closed_form(run, decoder, variables, rows).tolist()
                    if is_base:
                        logprobs["base"] = found
                    else:
                        logprobs["students"][name].append(found)
                if evaluation.samples:
                    prompts = [run.encode(after_rows(run, rows, asked)) for asked in questions]
                    label = "base" if is_base else _label(name, seed)
                    sampled[label] = _sample(run, decoder, variables, prompts, label)
                bar.advance()

        distance = base_distance(run) if run.of_students else None

        def write(folder: Path) -> None:
            if evaluation.form != STORY:
                measured = {
                    "candidates": run.candidates,
                    "questions": questions,
                    "logprobs": logprobs,
                }
                _write_json(folder / CLOSED_FORM, measured)
            if distance is not None:
                _write_json(folder / DISTANCE, distance)
            if sampled:
                _write_json(folder / SAMPLED, sampled)

        counts = {"questions": len(questions), "samples": evaluation.samples}
        keep(
            run,
            directory,
            "evaluation",
            inputs,
            write,
            counts=counts,
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def write_transfer(run: Run) -> dict[str, Any]:
    """Computes the matrix of the primary measure, writes transfer.json and returns it.

    Shares of sampled answers stand there beside it, where there are any. Without the preference it
    has no traits; what came of the suites is in it either way.

    Args:
        run: the main experiment, or an arm, which has a file of its own; as its students see it.

    Returns:
        What `transfer_matrix` does, with "teacher_base", "student_base", and "distance" between
        them as `base_distance` gives it.
    """
    transfer = _matrix(run) if run.config.evaluation.preference else _no_matrix(run)
    transfer["suites"] = read_suites(run)
    if run.config.evaluation.soft_prompt.vectors:
        transfer["soft_prompt"] = read_soft_prompts(run)
    directory, same = run.evaluation_directory(), run.model_name == run.config.base
    if transfer["traits"]:
        transfer |= {
            "teacher_base": run.config.base,
            "student_base": run.model_name,
            "distance": dict.fromkeys(DISTANCES, 0.0) if same else _read_json(directory / DISTANCE),
        }
    run.folder.mkdir(parents=True, exist_ok=True)
    _write_json(run.folder / "transfer.json", transfer)
    run.store.push(run.folder / "transfer.json")
    return transfer


def add_arms(
    run: Run,
    transfer: dict[str, Any],
    arms: list[dict[str, Any]],
    cells: list[dict[str, Any]],
) -> dict[str, Any]:
    """Writes the main experiment's transfer.json with the arms' results, and returns it.

    Args:
        run: the main experiment.
        transfer: its matrix.
        arms: what there is to say of each arm.
        cells: the matrices of arms that differ in their bases alone.
    """
    transfer = transfer | {"arms": arms}
    if cells:
        transfer["cells"] = [{k: v for k, v in transfer.items() if k != "arms"}, *cells]
    _write_json(run.folder / "transfer.json", transfer)
    return transfer


def _matrix(run: Run) -> dict[str, Any]:
    directory, evaluation = run.evaluation_directory(), run.config.evaluation
    is_margin = evaluation.primary == CLOSED_FORM_MARGIN
    sampled = _read_json(directory / SAMPLED) if evaluation.samples else {}
    if is_margin:
        measured = _read_json(directory / CLOSED_FORM)["logprobs"]
    else:
        measured = _shares(run, sampled)
    # Students of two traits are nobody's others: the matrix is what it is without them.
    of_one = {name: of for name, of in measured["students"].items() if name not in run.of_two}
    samples = 0 if is_margin else evaluation.samples
    transfer = transfer_matrix(
        {**measured, "students": of_one},
        run.candidates,
        run.columns,
        run.config.seed,
        measure=evaluation.primary,
        samples=samples,
        seeds=run.config.student.seeds,
        questions=asked_questions(run),
        versions=versions(),
    )
    if run.of_two:
        transfer["two_traits"] = two_traits(
            measured["students"],
            run.candidates,
            run.columns,
            run.of_two,
            run.config.seed,
            measure=evaluation.primary,
            samples=samples,
        )
    transfer["form"] = evaluation.form
    transfer["sampled_share"] = {label: one["shares"] for label, one in sampled.items()}
    return transfer


def _no_matrix(run: Run) -> dict[str, Any]:
    names = list(run.student_names)
    empty: list[list[float]] = [[] for _ in names]
    return {
        "measure": None,
        "unit": None,
        "questions": [],
        "mean_lift": None,
        "students": names,
        "traits": [],
        "seeds": list(run.config.student.seeds),
        "shift": empty,
        "interval": empty,
        "lift": {},
        "versions": versions(),
    }


def _sample(run: Run, decoder: Decoder, variables, questions, label: str) -> dict[str, Any]:
    """Shares of the candidates among answers drawn at temperature 1, and the answers."""
    evaluation = run.config.evaluation
    sampling = Sampling(evaluation.max_new_tokens, scored=False)
    samples = generate(
        decoder,
        variables,
        questions,
        sampling,
        run.stop_ids,
        row_keys(key_of(run.config.seed, "evaluation", label), len(questions) * evaluation.samples),
        evaluation.samples,
        batch_rows=rows_at_a_time(
            run, decoder, variables, questions, sampling, evaluation.samples, None
        ),
    )
    texts = [run.base.tokenizer.decode(ids) for ids in completion_ids(samples, run.stop_ids)]
    per_question = np.asarray(texts, object).reshape(len(questions), evaluation.samples).tolist()
    return {"shares": sampled_shares(per_question, _words(run)), "answers": per_question}


def _shares(run: Run, sampled: dict[str, Any]) -> dict[str, Any]:
    """Each question's shares, as `transfer_matrix` takes them."""

    def of(label: str) -> np.ndarray:
        return question_shares(sampled[label]["answers"], _words(run))

    seeds = run.config.student.seeds
    students = {name: [of(_label(name, seed)) for seed in seeds] for name in run.student_names}
    return {"base": of("base"), "students": students}


def _words(run: Run) -> dict[str, tuple[str, ...]]:
    """Each candidate with its plural and synonyms."""
    return {candidate: inflections(candidate, run.pack.animals) for candidate in run.candidates}


def _label(name: str, seed: int) -> str:
    """A student's name in sampled.json."""
    return f"{name}/seed-{seed}"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, [json.dumps(value, indent=1).encode(), b"\n"])
