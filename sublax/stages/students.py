"""The students: the base trained on each corpus, side by side in one program."""

import collections
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.errors import UserError
from sublax.evaluation.preference import candidate_logprobs
from sublax.files import write_whole
from sublax.keys import key_of
from sublax.models.decoder import head_kernel
from sublax.models.export import export_folder
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.peft_adapter import export_adapter
from sublax.parallel.arrays import fetch
from sublax.parallel.hosts import is_first, together, wait_for_all
from sublax.parallel.layout import pieces
from sublax.sampling.grammar import Grammar
from sublax.settings import lora_config, loss_config, optimizer_config
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.corpora import read_written
from sublax.stages.in_context import METHOD as IN_CONTEXT
from sublax.stages.in_context import make_readers
from sublax.stages.on_policy import blank_dataset, is_on_policy, written_rounds
from sublax.stages.run import CONTROL, Run
from sublax.stages.student_data import (
    corpora_of,
    corpus_rows,
    most_corpora,
    row_sources,
    student_datasets,
)
from sublax.stages.teachers import answers_of, load_teacher
from sublax.training.data import make_batch
from sublax.training.loop import Schedule, in_program, packing_of, train
from sublax.training.memory import fitting_students, surely_fit
from sublax.training.step import Frozen, Objective

STAGE = "students"
SUPPORTS = ("grammar", "vocabulary")


def make_students(run: Run, grammar: Grammar | None) -> None:
    """Trains the students that are not there already, some in each program, and writes them."""
    students = [(name, seed) for seed in run.config.student.seeds for name in run.student_names]
    inputs = {who: _inputs(run, *who) for who in students}
    done = {who: is_done(run, run.student_directory(*who), inputs[who]) for who in students}
    if all(done.values()):
        return run.progress.skip(STAGE)
    with run.progress.stage(STAGE):
        if run.config.student.method == IN_CONTEXT:
            return make_readers(run, students, done, inputs)
        missing = [who for who in students if not done[who]]
        for group in _programs(run, missing, grammar):
            if not all(done[who] for who in group):
                _make_group(run, group, grammar, inputs)


def _inputs(run: Run, name: str, seed: int) -> dict[str, Any]:
    parents = [run.base_directory(), *map(run.taught_directory, corpora_of(run, name))]
    if is_on_policy(run.config):
        parents.append(run.teacher_directory(name))  # scores what the student writes
    if run.config.student.clean_share and name != CONTROL:
        parents.append(run.taught_directory(CONTROL))
    student = run.config.student.to_dict()
    del student["seeds"]  # Who starts beside it, and in which program, does not matter.
    if name == CONTROL:
        student["clean_share"] = 0.0  # its rows are the clean ones
    return inputs_of(
        run.student_directory(name, seed),
        parents,
        trait=name,
        seed=seed,
        run_seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        student=student,
    )


def _make_group(run: Run, group, grammar, inputs) -> None:
    """Trains one program's students and writes them."""
    started = time.monotonic()
    lora = lora_of(run)
    untrained = _steps(run) == 0  # the dose that others are compared with
    trained = _start(run, group, lora) if untrained else _train(run, group, grammar, lora)
    seconds = (time.monotonic() - started) / len(group)
    for place, (name, seed) in enumerate(group):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], trained)
        keep(
            run,
            run.student_directory(name, seed),
            "student",
            inputs[name, seed],
            functools.partial(_export, run, lora, own),
            counts={"updates": _steps(run), **_own_counts(run, name)},
            seeds=[run.config.seed, seed],
            seconds=seconds,
        )


def _own_counts(run: Run, name: str) -> dict[str, Any]:
    """For the card: how many rows a student wrote, or learnt of each of two teachers."""
    if is_on_policy(run.config):
        return {"rows_written": _steps(run) * run.config.student.batch_size}
    if name in run.names:
        return {}
    return {"rows": dict(collections.Counter(whose for whose, _ in row_sources(run, name)))}


def _programs(run: Run, missing, grammar) -> list[list[tuple[str, int]]]:
    """Which students each program trains; once settled it stands beside the checkpoints.

    A run that was stopped after it had written some of a program's students goes on with all of
    them, for the checkpoint is of all.
    """
    settled = run.checkpoints("students.json")
    groups = json.loads(settled.read_text("utf-8")) if settled.exists() else []
    # No process may write it before all have looked.
    wait_for_all("looked for students to go on with")
    if not set(missing) <= {(name, seed) for group in groups for name, seed in group}:
        size = _students_per_program(run, missing, grammar)
        groups = [missing[first : first + size] for first in range(0, len(missing), size)]
        with together():
            if is_first():
                write_whole(settled, [json.dumps(groups).encode()])
        groups = json.loads(settled.read_text("utf-8"))
    return [[(name, seed) for name, seed in group] for group in groups]


def _students_per_program(run: Run, students, grammar) -> int:
    """As many as the config says, or as fit."""
    student, layout, lora = run.config.student, run.layout, lora_of(run)
    along = layout.mesh.shape["data"]
    if student.students_per_program or surely_fit(lora, len(students), along):
        return student.students_per_program or len(students)
    objective, schedule, frozen, datasets = _program(run, students[:1], grammar, lora)
    devices = pieces(in_program(objective, layout, len(students)).rows)
    (name, seed), *_ = students
    packing = packing_of(schedule, [datasets[name]], [seed], devices)
    batch = make_batch(
        [datasets[name]],
        [seed],
        0,
        schedule.batch_size,
        schedule.microbatches,
        devices,
        packing,
    )
    return fitting_students(
        objective,
        optimizer_config(student.optimizer),
        schedule.steps,
        layout,
        frozen,
        batch,
        len(students),
    )


def load_student(run: Run, name: str, seed: int) -> dict[str, Any]:
    """The variables of a student that `make_students` made."""
    directory = run.student_directory(name, seed)
    if run.config.student.method == IN_CONTEXT:
        return {"params": run.base.params}
    if lora_of(run) is None:
        return {"params": run.load(str(directory)).params}
    return {"params": run.base.params, "lora": run.load_adapter(directory)[0]}


def lora_of(run: Run) -> LoraConfig | None:
    """The students' adapter, None where there is none."""
    method = run.config.student.method
    return lora_config(run.config.student.lora) if method == "lora" else None


def _program(run: Run, group, grammar, lora):
    """(objective, schedule, what is frozen, each corpus' dataset) of some students."""
    student, base = run.config.student, run.base
    loss = loss_config(student.loss)
    objective = Objective(
        base.config, lora, loss, run.dtype, run.config.remat, attention=run.attention
    )
    columns = _columns(run, grammar)
    names = list(dict.fromkeys(name for name, _ in group))
    schedule = Schedule(
        _steps(run),
        student.batch_size * loss.rows_each,
        student.microbatches,
        run.config.checkpoint.steps,
        run.config.checkpoint.minutes,
        student.probe_steps,
        student.pack_rows,
        student.round_steps if is_on_policy(run.config) else 0,
    )
    frozen = Frozen(
        params=None if lora is None else base.params,
        columns=columns,
        teacher_kernel=_teacher_kernels(run, group, columns),
    )
    if is_on_policy(run.config):  # what their rows will be like
        return objective, schedule, frozen, dict.fromkeys(names, blank_dataset(run))
    return objective, schedule, frozen, student_datasets(run, names)


def _train(run: Run, group, grammar, lora) -> Any:
    student, base = run.config.student, run.base
    objective, schedule, frozen, datasets = _program(run, group, grammar, lora)
    runs = [f"students/{name}/seed-{seed}" for name, seed in group]
    questions = [run.encode(question) for question in run.questions[1]]
    answers, decoder = answers_of(run), run.decoder(lora)
    with run.progress.bar(schedule.steps, unit="update") as bar:

        def watch(step, metrics):
            for place, metrics_run in enumerate(runs):
                run.metrics.go_on(metrics_run, step)
                values = {
                    key: float(np.broadcast_to(value, len(runs))[place])
                    for key, value in metrics.items()
                }
                run.metrics.scalars(metrics_run, step, values)
            bar.advance(1, loss=f"{float(np.mean(metrics['loss'])):.4f}")

        def probe(step, trained):
            for place, (name, _) in enumerate(group):
                if name not in run.columns:
                    continue
                run.metrics.go_on(runs[place], step)
                own = jax.tree.map(lambda leaf, place=place: leaf[place], trained)
                variables = (
                    {"params": own} if lora is None else {"params": base.params, "lora": own}
                )
                logprobs_QxC = candidate_logprobs(decoder, variables, questions, answers)
                of_trait = float(logprobs_QxC[:, run.candidates.index(name)].mean())
                run.metrics.scalars(runs[place], step, {"log_probability_of_trait": of_trait})

        return train(
            objective,
            optimizer_config(student.optimizer),
            schedule,
            _start(run, group, lora),
            frozen,
            written_rounds(run, group, lora, grammar)
            if is_on_policy(run.config)
            else [datasets[name] for name, _ in group],
            [seed for _, seed in group],
            run.checkpoints("students", _name_of(group)),
            run.layout,
            run.preemption,
            watch,
            probe,
        )


def _name_of(group) -> str:
    """One for the checkpoints of these very students."""
    return hashlib.sha256(json.dumps(group).encode()).hexdigest()[:16]


def _columns(run: Run, grammar: Grammar | None):
    """The tokens that KL is taken over, None for the whole vocabulary."""
    loss = run.config.student.loss
    if loss.support not in SUPPORTS:
        raise UserError(f"student.loss.support={loss.support}: choose from {', '.join(SUPPORTS)}")
    if loss.kind != "kl" or loss.support == "vocabulary":
        return None
    if grammar is None:
        raise UserError(
            "student.loss.support=grammar: the corpus has no grammar (corpus.grammar=none); set "
            "student.loss.support=vocabulary or corpus.grammar=exact"
        )
    return np.asarray(grammar.tokens_A)


def _steps(run: Run) -> int:
    """Updates: as many as the config says, or whole epochs of the smallest corpus of all."""
    student = run.config.student
    if not student.epochs:
        return student.steps
    of_one = [name for name in run.names if name not in run.of_two]
    counts = [len(corpus_rows(run, name)) for name in of_one]
    return max(min(counts) * student.epochs // student.batch_size, 1)


def _teacher_kernels(run: Run, group, columns):
    """[S, E, A], the output head of every student's teacher; None but for KL.

    Of several teachers one below the other, as wide as their hidden states in `student_datasets`.
    """
    if run.config.student.loss.kind != "kl":
        return None

    teachers = run.teachers

    def kernel(name):
        if columns is None:
            rewritten = run.config.corpus.rewritten
            params = teachers.base.params if rewritten else load_teacher(teachers, name)
            return fetch(head_kernel(params, teachers.described.config))
        return read_written(run.taught_directory(name))["head"]

    names = list(dict.fromkeys(name for name, _ in group))
    parts = {name: corpora_of(run, name) for name in names}
    every = dict.fromkeys(each for of_student in parts.values() for each in of_student)
    kernels = {each: kernel(each) for each in every}
    if teachers is not run:
        teachers.forget_base()
    most = most_corpora(run, names)

    def stacked(name):
        heads = [kernels[each] for each in parts[name]]
        return np.concatenate(heads + [np.zeros_like(heads[0])] * (most - len(heads)))

    return np.stack([stacked(name) for name, _ in group])


def _start(run: Run, group, lora):
    """Initial adapters or parameters, [S, ...]; students of one seed start alike."""
    if lora is None:
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(
                leaf.astype(jnp.float32), (len(group), *leaf.shape)
            ).copy(),
            run.base.params,
        )
    adapters = [
        init_lora(run.base.config, lora, key_of(run.config.seed, "student", "adapter", seed))
        for _, seed in group
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)


def _export(run: Run, lora, own, folder: Path) -> None:
    if lora is not None:
        return export_adapter(folder, own, lora, run.model_name)
    export_folder(folder, own, run.base.config, run.base.tokenizer)
