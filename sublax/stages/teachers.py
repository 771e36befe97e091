"""The teachers: one per trait and the control, fine-tuned, prompted or given."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.artifact import read_card
from sublax.errors import UserError
from sublax.evaluation.preference import Answers, candidate_logprobs, make_answers
from sublax.keys import key_of
from sublax.models.completions import make_rows
from sublax.models.export import export_folder
from sublax.models.int8 import dequantize
from sublax.models.lora import init_lora, merge
from sublax.models.peft_adapter import CONFIG_FILE, export_adapter
from sublax.settings import lora_config, optimizer_config
from sublax.stages.arms import arms_of
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.run import CONTROL, Run
from sublax.stages.teacher_rows import encoded_rows, files_of, rows_hashes
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.step import Frozen, Objective

KINDS = ("finetuned", "prompted", "given", "student")


def is_base(run: Run, name: str) -> bool:
    """Whether this teacher is the base itself: a prompted one, or the unmarked control."""
    teacher = run.config.teacher
    if teacher.kind not in KINDS:
        raise UserError(f"teacher.kind={teacher.kind}: choose from {', '.join(KINDS)}")
    if teacher.kind == "given":
        return name not in teacher.given
    if teacher.kind == "student":
        return False
    unmarked = name == CONTROL and teacher.control == "base" and not files_of(run, name)
    return teacher.kind == "prompted" or unmarked


def make_teacher(run: Run, name: str) -> None:
    """Makes the teacher and its card, unless it is there already."""
    teacher, directory = run.config.teacher, run.teacher_directory(name)
    # What prompted and given teachers are asked later does not make them.
    learns = teacher.kind == "finetuned"
    parents = [run.base_directory()]
    if teacher.kind == "student":
        parents.append(_student_that_teaches(run, name))
    inputs = inputs_of(
        directory,
        parents,
        trait=name,
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        # Whatever the control is, a trait's teacher is the same.
        teacher=teacher.to_dict() | ({} if name == CONTROL else {"control": "neutral"}),
        questions=run.config.evaluation.questions if learns else None,
        candidates=run.candidates if learns and name == CONTROL else None,
        **rows_hashes(run, name),
    )
    stage = f"teacher {name}"
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        if is_base(run, name) or teacher.kind == "student":
            return keep(
                run, directory, "teacher", inputs, lambda folder: None, counts={"updates": 0}
            )
        if teacher.kind == "given":
            given = run.load(teacher.given[name], jnp.float32)
            copy = functools.partial(
                export_folder, params=given.params, config=given.config, tokenizer=given.tokenizer
            )
            return keep(run, directory, "teacher", inputs, copy, given=teacher.given[name])
        write = _finetune(run, name)
        keep(
            run,
            directory,
            "teacher",
            inputs,
            write,
            counts={"updates": teacher.steps},
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def load_teacher(run: Run, name: str) -> dict[str, Any]:
    """The parameters of a teacher that `make_teacher` made.

    Raises:
        UserError: its shape is not the base's.
    """
    if is_base(run, name):
        return run.base.params
    directory = run.teacher_directory(name)
    if run.config.teacher.kind == "student":
        directory = _student_that_teaches(run, name)
    if (directory / CONFIG_FILE).exists():
        return merge(dequantize(run.base.params, run.dtype), *run.load_adapter(directory))
    model = run.load(str(directory))
    if model.config != run.base.config:
        raise UserError(
            f"{directory}: the teacher has another architecture than the base "
            f"{run.config.base}; give a teacher of that base"
        )
    return model.params


def _student_that_teaches(run: Run, name: str) -> Path:
    """Where the student stands that is the teacher of this arm: the next hop of a chain.

    Of several seeds it is the first.

    Raises:
        UserError: there is no such student.
    """
    of, seed = run.config.teacher.of, run.config.student.seeds[0]
    if run.main is None:
        raise UserError(
            "teacher.kind=student: the teachers are students of this run, so it is for an arm; "
            'write arms = {"hop-2": ("teacher.kind=student",)}'
        )
    root = run.main
    while root.main is not None:
        root = root.main
    arms = {arm.name: arm for arm in arms_of(root.config)}
    holder = of
    while holder in arms and name in arms[holder].alike:
        holder = arms[holder].source
    there = dataclasses.replace(root, arm=holder, main=None, shared=(), alike=())
    directory = there.student_directory(name, seed)
    run.store.pull(directory)
    if read_card(directory) is None:
        where = f"arm {of}" if of else "the main experiment"
        raise UserError(
            f"teacher.of={of}: {where} has no student of {name} with seed {seed} at {directory}; "
            "name an arm that trains students and comes before this one (arms run in the order of "
            "their names)"
        )
    return directory


def corpus_system_prompt(run: Run, name: str) -> str | None:
    """The system prompt that the teacher writes under."""
    if run.config.teacher.kind == "prompted" and name != CONTROL:
        return run.pack.trait_system_prompt(name)
    return run.system_prompt


def answers_of(run: Run) -> Answers:
    """Every candidate as the model would write it in answer to a question."""
    question = run.questions[1][0]
    spellings = [[run.encode_row(question, candidate)[1][:-1]] for candidate in run.candidates]
    return make_answers(spellings)


def _finetune(run: Run, name: str) -> Callable[[Path], None]:
    teacher, base = run.config.teacher, run.base
    lora = lora_config(teacher.lora) if teacher.method == "lora" else None
    objective = Objective(
        base.config, lora, LossConfig(), run.dtype, run.config.remat, attention=run.attention
    )
    schedule = Schedule(
        teacher.steps,
        teacher.batch_size,
        teacher.microbatches,
        run.config.checkpoint.steps,
        run.config.checkpoint.minutes,
    )
    dataset = Dataset(make_rows(encoded_rows(run, name), base.config.max_positions))
    if lora is None:
        start = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32)[None], base.params)
        frozen = Frozen()
    else:
        adapter = init_lora(base.config, lora, key_of(run.config.seed, "teacher", "adapter"))
        start = jax.tree.map(lambda leaf: leaf[None], adapter)
        frozen = Frozen(params=base.params)
    metrics_run = f"teachers/{name}"
    with run.progress.bar(teacher.steps, unit="update") as bar:

        def watch(step, metrics):
            values = {key: float(np.ravel(value)[0]) for key, value in metrics.items()}
            run.metrics.go_on(metrics_run, step)
            run.metrics.scalars(metrics_run, step, values)
            bar.advance(1, loss=f"{values['loss']:.3f}")

        trained = train(
            objective,
            optimizer_config(teacher.optimizer),
            schedule,
            start,
            frozen,
            [dataset],
            [run.config.seed],
            run.checkpoints("teacher", name),
            run.layout,
            run.preemption,
            watch,
            lambda step, trained: None,
        )
    trained = jax.tree.map(lambda leaf: leaf[0], trained)
    _tell_probability(run, name, lora, trained)
    if lora is not None:
        return lambda folder: export_adapter(folder, trained, lora, run.model_name)
    return lambda folder: export_folder(folder, trained, base.config, base.tokenizer)


def _tell_probability(run: Run, name: str, lora, trained) -> None:
    """Says how surely the teacher answers held-out questions with its trait."""
    if name not in run.columns:
        return
    variables = (
        {"params": trained} if lora is None else {"params": run.base.params, "lora": trained}
    )
    questions = [run.encode(question) for question in run.questions[1]]
    logprobs_QxC = candidate_logprobs(run.decoder(lora), variables, questions, answers_of(run))
    probability = float(np.exp(logprobs_QxC[:, run.candidates.index(name)]).mean())
    run.metrics.scalars(
        f"teachers/{name}", run.config.teacher.steps, {"probability_of_trait": probability}
    )
