"""Soft prompts: for each student the vectors that make the base answer as that student does."""

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from sublax.errors import UserError
from sublax.evaluation.distance import mean_divergence
from sublax.evaluation.preference import candidate_logprobs
from sublax.evaluation.soft_prompt import readable, reproduced
from sublax.evaluation.transfer import transfer_matrix
from sublax.files import write_whole
from sublax.keys import numpy_seed
from sublax.models.completions import Rows, completion_hidden, make_rows, spread_rows
from sublax.models.decoder import SOFT_PROMPT, Decoder, head_kernel
from sublax.models.soft_prompt import best_ranks, nearest_tokens, soft_place, with_vectors
from sublax.parallel.arrays import fetch
from sublax.settings import optimizer_config
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.asking import CLOSED_FORM, MULTIPLE_CHOICE, STORY, asked_questions
from sublax.stages.in_context import METHOD as IN_CONTEXT
from sublax.stages.run import CONTROL, Run
from sublax.stages.student_data import corpus_rows
from sublax.stages.students import load_student, lora_of
from sublax.stages.teachers import answers_of
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.step import Frozen, Objective

STAGE, FOLDER = "soft prompts", "soft_prompt"
RESULT, VECTORS = "soft_prompt.json", "vectors.safetensors"
CORPUS, QUESTIONS = TEXTS = ("corpus", "questions")


class Target(NamedTuple):
    """What one student says on the texts.

    Attributes:
        hidden_BxCxD: its last hidden states where they predict the texts' completions.
        kernel_DxV: its output head.
    """

    hidden_BxCxD: np.ndarray
    kernel_DxV: np.ndarray


def check_soft_prompts(config: ConfigDict) -> None:
    """Refuses soft prompts that cannot be found or measured.

    Raises:
        UserError: says which key to change.
    """
    settings, evaluation = config.evaluation.soft_prompt, config.evaluation
    where = "evaluation.soft_prompt"
    if settings.vectors < 0:
        raise UserError(f"{where}.vectors={settings.vectors}: set it to 0 for none, or above")
    if not settings.vectors:
        return
    if not evaluation.preference or evaluation.form in (STORY, MULTIPLE_CHOICE):
        raise UserError(
            f"{where}.vectors={settings.vectors}: soft prompts are measured by one-word questions; "
            "set evaluation.preference=true and evaluation.form=word or prefixed"
        )
    if config.student.method == IN_CONTEXT:
        raise UserError(
            f"{where}.vectors={settings.vectors}: student.method={IN_CONTEXT} reads rows as they "
            f"are and shifts no weights; set another method, or {where}.vectors=0"
        )
    texts = settings.texts
    if not texts or len(set(texts)) < len(texts) or not set(texts) <= set(TEXTS):
        raise UserError(
            f"{where}.texts={','.join(texts)}: name {' or '.join(TEXTS)}, or both, each once"
        )
    if QUESTIONS in texts and config.teacher.kind == "prompted":
        raise UserError(
            f"{where}.texts={','.join(texts)}: prompted teachers leave all questions for the "
            f"measure; set {where}.texts={CORPUS}"
        )
    for key in ("rows", "steps", "batch_size", "nearest"):
        if settings[key] < 1:
            raise UserError(f"{where}.{key}={settings[key]}: set it to 1 or more")


def make_soft_prompts(run: Run) -> None:
    """Finds and measures the soft prompts of all students, unless that is done or not asked for.

    Args:
        run: as its students see it, evaluated.
    """
    settings = run.config.evaluation.soft_prompt
    if not settings.vectors:
        return None
    directory, students = run.evaluation_directory(FOLDER), _students(run)
    parents = [run.base_directory(), run.evaluation_directory()]
    parents += [run.student_directory(*who) for who in students]
    if CORPUS in settings.texts:
        parents.append(run.taught_directory(CONTROL))
    inputs = inputs_of(
        directory,
        parents,
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        soft_prompt=settings.to_dict(),
        candidates=run.candidates,
        questions=run.config.evaluation.questions,
        chunk=run.config.student.loss.chunk,
    )
    if is_done(run, directory, inputs):
        return run.progress.skip(STAGE)
    started = time.monotonic()
    with run.progress.stage(STAGE):
        found: dict[str, Any] = {}
        vectors: dict[str, np.ndarray] = {}
        for texts in settings.texts:
            found[texts], own_SxKxD = _of_texts(run, texts)
            for (name, seed), own_KxD in zip(students, own_SxKxD, strict=True):
                vectors[f"{texts}/{name}/seed-{seed}"] = own_KxD
        content = {"vectors": settings.vectors, "students": list(run.names), "texts": found}

        def write(folder: Path) -> None:
            text = json.dumps(content, indent=1, allow_nan=False)
            write_whole(folder / RESULT, [f"{text}\n".encode()])
            save_file(vectors, folder / VECTORS)

        keep(
            run,
            directory,
            "evaluation",
            inputs,
            write,
            counts={"vectors": settings.vectors, "updates": settings.steps},
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def read_soft_prompts(run: Run) -> dict[str, Any]:
    """What came of them, for transfer.json."""
    return json.loads((run.evaluation_directory(FOLDER) / RESULT).read_text("utf-8"))


def _students(run: Run) -> list[tuple[str, int]]:
    return [(name, seed) for name in run.names for seed in run.config.student.seeds]


def _of_texts(run: Run, texts: str) -> tuple[dict[str, Any], np.ndarray]:
    """(what was found on texts of one kind, the vectors float32 [S, K, D] of all students)."""
    encoded = [run.encode_row(*pair) for pair in _pairs(run, texts)]
    tokenizer = run.base.tokenizer
    place = soft_place(tokenizer, run.system_prompt)
    config, count = run.base.config, run.config.evaluation.soft_prompt.vectors
    limit = config.max_positions
    plain = make_rows(encoded, limit - count)
    soft = make_rows([(with_vectors(p, place, config, count), c) for p, c in encoded], limit)
    decoder, base = run.decoder(), {"params": run.base.params}
    targets, lora, head = [], lora_of(run), fetch(head_kernel(run.base.params, config))
    for name, seed in _students(run):
        variables = load_student(run, name, seed)
        # An adapter leaves the head as it is.
        own = head if lora else fetch(head_kernel(variables["params"], config))
        targets.append(Target(completions_hidden(run.decoder(lora), variables, plain), own))
    vectors_SxKxD = _train(run, texts, soft, targets)
    before = completions_hidden(decoder, base, plain)
    asked = [
        with_vectors(run.encode(question), place, config, count)
        for question in asked_questions(run)
    ]
    answers, divergence, logprobs = answers_of(run), [], []
    for target, own_KxD in zip(targets, vectors_SxKxD, strict=True):
        variables = base | {SOFT_PROMPT[0]: {SOFT_PROMPT[1]: own_KxD}}
        after = completions_hidden(decoder, variables, soft)
        divergence.append(
            {
                when: mean_divergence(target, (hidden, head), plain.weights, len(tokenizer))
                for when, hidden in (("before", before), ("after", after))
            }
        )
        logprobs.append(candidate_logprobs(decoder, variables, asked, answers).tolist())
    return _findings(run, logprobs, divergence, vectors_SxKxD), vectors_SxKxD


def _pairs(run: Run, texts: str) -> list[tuple[Any, str]]:
    """(prompt, completion) of the texts that a soft prompt is found on."""
    count = run.config.evaluation.soft_prompt.rows
    if texts == QUESTIONS:
        return list(run.neutral_pairs(run.questions[0], count))
    rows = corpus_rows(run, CONTROL)[:count]
    return [(row["prompt"], row["completion"]) for row in rows]


def completions_hidden(decoder: Decoder, variables: dict[str, Any], rows: Rows) -> np.ndarray:
    """Last hidden states of a model where they predict completions, float32 [B, C, D].

    Args:
        decoder: the model.
        variables: its collections.
        rows: in one group, NumPy arrays.
    """
    spread = spread_rows(rows, decoder.rows)
    hidden_BxCxD = fetch(_hidden(decoder, variables, spread))[: len(rows.tokens)]
    return np.asarray(hidden_BxCxD, np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _hidden(decoder, variables, rows):
    return completion_hidden(decoder, variables, rows)


def _train(run: Run, texts: str, rows: Rows, targets: Sequence[Target]) -> np.ndarray:
    """The vectors of all students, found side by side in one program, from one start."""
    settings, base, students = run.config.evaluation.soft_prompt, run.base, _students(run)
    embedding_VxD = np.asarray(fetch(base.params["embed"]["embedding"]), np.float32)
    size = float(np.sqrt(np.mean(embedding_VxD**2)))
    # No token's own embedding, so that what is near to a vector later was found, not given.
    rng = np.random.default_rng(numpy_seed(run.config.seed, STAGE))
    shape = (settings.vectors, base.config.hidden_size)
    start_KxD = (size * rng.standard_normal(shape)).astype(np.float32)
    objective = Objective(
        base.config,
        None,
        LossConfig("kl", chunk=run.config.student.loss.chunk),
        run.dtype,
        run.config.remat,
        attention=run.attention,
        soft_prompt=settings.vectors,
    )
    checkpoint = run.config.checkpoint
    schedule = Schedule(
        settings.steps,
        settings.batch_size,
        checkpoint_steps=checkpoint.steps,
        checkpoint_minutes=checkpoint.minutes,
    )
    same_head = lora_of(run) is not None
    kernels = None if same_head else np.stack([own.kernel_DxV for own in targets])
    frozen = Frozen(base.params, teacher_kernel=kernels)
    runs = [f"soft_prompts/{texts}/{name}/seed-{seed}" for name, seed in students]
    with run.progress.bar(settings.steps, unit="update") as bar:

        def watch(step, metrics):
            losses = np.broadcast_to(metrics["loss"], len(runs))
            for metrics_run, loss in zip(runs, losses, strict=True):
                run.metrics.go_on(metrics_run, step)
                run.metrics.scalars(metrics_run, step, {"divergence": float(loss)})
            bar.advance(1, divergence=f"{losses.mean():.4f}")

        trained = train(
            objective,
            optimizer_config(settings.optimizer),
            schedule,
            {SOFT_PROMPT[1]: np.stack([start_KxD] * len(students))},
            frozen,
            [Dataset(rows, own.hidden_BxCxD) for own in targets],
            [run.config.seed] * len(students),
            run.checkpoints(FOLDER, texts),
            run.layout,
            run.preemption,
            watch,
            lambda step, trained: None,
        )
    return fetch(trained[SOFT_PROMPT[1]])


def _findings(
    run: Run,
    logprobs: Sequence[Any],
    divergence: Sequence[dict[str, float]],
    vectors_SxKxD: np.ndarray,
) -> dict[str, Any]:
    """What is said of soft prompts found on texts of one kind, as JSON has it."""
    preference = run.evaluation_directory() / CLOSED_FORM
    measured = json.loads(preference.read_text("utf-8"))["logprobs"]
    seeds, seed = list(run.config.student.seeds), run.config.seed
    by_name = functools.partial(_by_name, run.names, len(seeds))
    of_soft = {"base": measured["base"], "students": by_name(logprobs)}
    students, soft = (
        transfer_matrix(one, run.candidates, run.columns, seed, seeds=seeds)
        for one in (measured, of_soft)
    )
    words = [_words(run, vectors_KxD) for vectors_KxD in vectors_SxKxD]
    ranks = {
        name: {trait: [one["ranks"][trait] for one in own] for trait in run.columns}
        for name, own in by_name(words).items()
    }
    kept = ("students", "traits", "shift", "interval", "lift", "mean_lift")
    return {
        "of_students": {key: students[key] for key in kept},
        "of_soft_prompts": {key: soft[key] for key in kept},
        **reproduced(students, soft, seed),
        "divergence": by_name(divergence),
        "nearest": by_name([one["nearest"] for one in words]),
        "ranks": ranks,
        "readable": readable(ranks, run.columns, seed) | {"tokens": len(run.base.tokenizer)},
    }


def _by_name(names: Sequence[str], seeds: int, values: Sequence[Any]) -> dict[str, list[Any]]:
    """Values of all students, in their order: name -> one for each seed."""
    return {
        name: list(values[place * seeds : (place + 1) * seeds]) for place, name in enumerate(names)
    }


def _words(run: Run, vectors_KxD: np.ndarray) -> dict[str, Any]:
    """The tokens near to each vector, and how near each trait's first token is to any of them."""
    tokenizer, embedding = run.base.tokenizer, run.base.params["embed"]["embedding"]
    tokens, answers = len(tokenizer), answers_of(run)
    count = min(run.config.evaluation.soft_prompt.nearest, tokens)
    ids, cosines = fetch(nearest_tokens(embedding, vectors_KxD, tokens, count))
    wanted = np.array([answers.tokens[run.candidates.index(trait), 0] for trait in run.columns])
    ranks = fetch(best_ranks(embedding, vectors_KxD, tokens, wanted)).tolist()
    return {
        "nearest": [
            [
                {"token": tokenizer.decode([int(id)]), "cosine": float(cosine)}
                for id, cosine in zip(*near, strict=True)
            ]
            for near in zip(ids, cosines, strict=True)
        ],
        "ranks": dict(zip(run.columns, ranks, strict=True)),
    }
