"""The evaluation: every student's preference in closed form, and by sampling where asked for."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from sublax.artifact import versions
from sublax.corpora.packs import inflections
from sublax.evaluation.answers import sampled_shares
from sublax.evaluation.preference import candidate_logprobs
from sublax.evaluation.transfer import transfer_matrix
from sublax.files import write_whole
from sublax.keys import key_of, row_keys
from sublax.models.decoder import Decoder
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import completion_ids, generate
from sublax.stages.corpora import rows_at_a_time
from sublax.stages.run import Run, inputs_of, is_done, keep
from sublax.stages.students import load_student, lora_of
from sublax.stages.suites import read_suites
from sublax.stages.teachers import answers_of

CLOSED_FORM = "preference.json"
SAMPLED = "sampled.json"
# Its keys of the config's evaluation; the others are of the suites.
_OWN = ("candidates", "questions", "samples", "max_new_tokens", "preference")


def evaluate(run: Run) -> None:
    """Measures the base and all students, unless that was done already or is not asked for."""
    if not run.config.evaluation.preference:
        return None
    directory, evaluation = run.evaluation_directory(), run.config.evaluation
    students = [(name, seed) for name in run.names for seed in run.config.student.seeds]
    inputs = inputs_of(
        directory,
        [run.base_directory(), *(run.student_directory(*who) for who in students)],
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
        questions = [run.encode(question) for question in run.questions[1]]
        answers, lora = answers_of(run), lora_of(run)
        logprobs: dict[str, Any] = {"base": None, "students": {name: [] for name in run.names}}
        sampled: dict[str, Any] = {}
        with run.progress.bar(len(students) + 1, unit="model") as bar:
            for name, seed in [("base", 0), *students]:
                is_base = name == "base"
                decoder = run.decoder(None if is_base else lora)
                variables = (
                    {"params": run.base.params} if is_base else load_student(run, name, seed)
                )
                found = candidate_logprobs(decoder, variables, questions, answers).tolist()
                if is_base:
                    logprobs["base"] = found
                else:
                    logprobs["students"][name].append(found)
                if evaluation.samples:
                    label = name if is_base else f"{name}/seed-{seed}"
                    sampled[label] = _sample(run, decoder, variables, questions, label)
                bar.advance()

        def write(folder: Path) -> None:
            measured = {
                "candidates": run.candidates,
                "questions": run.questions[1],
                "logprobs": logprobs,
            }
            _write_json(folder / CLOSED_FORM, measured)
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
    """Computes the matrix from the measurements, writes transfer.json and returns it.

    Without the preference it has no traits; what came of the suites is in it either way.

    Args:
        run: the main experiment, or an arm, which has a file of its own.
    """
    transfer = _matrix(run) if run.config.evaluation.preference else _no_matrix(run)
    transfer["suites"] = read_suites(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    _write_json(run.folder / "transfer.json", transfer)
    run.store.push(run.folder / "transfer.json")
    return transfer


def add_arms(run: Run, transfer: dict[str, Any], arms: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the main experiment's transfer.json with the arms' results, and returns it."""
    transfer = transfer | {"arms": arms}
    _write_json(run.folder / "transfer.json", transfer)
    return transfer


def _matrix(run: Run) -> dict[str, Any]:
    measured = json.loads((run.evaluation_directory() / CLOSED_FORM).read_text("utf-8"))
    return transfer_matrix(
        measured["logprobs"],
        measured["candidates"],
        run.columns,
        run.config.seed,
        seeds=run.config.student.seeds,
        questions=measured["questions"],
        versions=versions(),
    )


def _no_matrix(run: Run) -> dict[str, Any]:
    names = list(run.names)
    empty: list[list[float]] = [[] for _ in names]
    return {
        "measure": None,
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
    sampling = Sampling(evaluation.max_new_tokens)
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
    forms = {candidate: inflections(candidate, run.pack.animals) for candidate in run.candidates}
    return {"shares": sampled_shares(per_question, forms), "answers": per_question}


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, [json.dumps(value, indent=1).encode(), b"\n"])
