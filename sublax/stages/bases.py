"""The base: a model by its name, or `random:SEED`, a small one made on the spot.

A random base is the smallest thing that the whole experiment can be asked of: its tokens are the
words of this run's own prompts and rows, and it is pre-trained, if at all, on made-up answers to
the prompts, on favourite animals that favour none, and on the control's rows where there are any.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.corpora.kinds import draw_prompts
from sublax.errors import UserError
from sublax.keys import key_of, numpy_seed
from sublax.models.chat import Prompt, encode_row
from sublax.models.completions import make_rows
from sublax.models.config import DecoderConfig
from sublax.models.decoder import init_params
from sublax.models.export import export_folder
from sublax.models.hf_config import decoder_config
from sublax.models.word_tokenizer import word_tokenizer
from sublax.settings import optimizer_config, plain
from sublax.stages.run import CONTROL, Run, inputs_of, is_done, keep
from sublax.stages.teacher_rows import rows_hashes, teacher_rows
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.step import Frozen, Objective


def make_base(run: Run) -> None:
    """Writes the base's card, the root that every artifact's parents lead to.

    A random base is made and written beside its card, unless it is there already.

    Raises:
        UserError: there is no such model, or no `random_base` in the config where it is needed.
    """
    directory, seed = run.base_directory(), run.random_base_seed
    if seed is None:
        with run.progress.stage("base"):
            inputs = inputs_of(directory, [], base=run.config.base, source_files=run.base_hashes)
            if not is_done(run, directory, inputs):
                keep(run, directory, "base", inputs, lambda folder: None)
        return None
    if "random_base" not in run.config:
        raise UserError(
            f"base={run.config.base}: the config has no random_base, which says how large it is; "
            "add it as in configs/tiny.py, or name a model"
        )
    corpus = run.config.corpus
    inputs = inputs_of(
        directory,
        [],
        base=run.config.base,
        random_base=run.config.random_base.to_dict(),
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        kind=corpus.kind,
        example_count=corpus.example_count,
        answer_count=corpus.answer_count,
        questions=run.config.evaluation.questions,
        candidates=run.candidates,
        **_rows_hashes(run),
    )
    if is_done(run, directory, inputs):
        return run.progress.skip("base")
    with run.progress.stage("base"):
        pairs = _pairs(run, seed)
        rows = [row for name in run.config.teacher.rows for _, row in teacher_rows(run, name)]
        known = [*pairs, *((_text(row["prompt"]), row["completion"]) for row in rows)]
        tokenizer = word_tokenizer(text for pair in known for text in pair)
        shape = plain(run.config.random_base.shape) | {"vocab_size": len(tokenizer)}
        config = decoder_config(shape, "random_base.shape")
        encoded = [encode_row(tokenizer, *pair, run.system_prompt) for pair in pairs]
        params = _pretrain(run, seed, config, encoded)
        write = functools.partial(export_folder, params=params, config=config, tokenizer=tokenizer)
        counts = {"rows": len(pairs), "updates": run.config.random_base.pretraining.steps}
        keep(run, directory, "base", inputs, write, counts=counts, seeds=[seed])


def _pairs(run: Run, seed: int) -> list[tuple[str, str]]:
    """(prompt, answer): what the corpora will be of, and every candidate in turn."""
    corpus = run.config.corpus
    count = run.config.random_base.pretraining.rows // 2
    rng = np.random.default_rng(numpy_seed(seed, "base", "rows"))
    parts = run.corpus_parts
    # Whatever the seed, so that all bases of a config have one tokenizer.
    rows = draw_prompts(parts, run.pack, 0, count)
    answers = [""] * count
    for index, part in enumerate(parts):
        if part.kind.answers is None:
            raise UserError(
                f"base={run.config.base}: corpus.kind={corpus.kind} has no answers that a random "
                "base could learn from; name a model"
            )
        own = slice(index, None, len(parts))
        answers[own] = part.kind.answers(run.pack, 0, len(answers[own]), rng, part.options)
    prompts = [row["prompt"] for row in rows]
    questions = (*run.questions[0], *run.questions[1])
    pairs = [*zip(prompts, answers, strict=True), *run.neutral_pairs(questions, count)]
    neutral = [(_text(row["prompt"]), row["completion"]) for _, row in teacher_rows(run, CONTROL)]
    return [*pairs, *(neutral[row % len(neutral)] for row in range(count if neutral else 0))]


def _rows_hashes(run: Run) -> dict[str, Any]:
    """Of all teachers' rows, whose words the tokenizer knows."""
    found: dict[str, Any] = {}
    for name in run.config.teacher.rows:
        found |= rows_hashes(run, name).get("rows_sha256", {})
    return {"rows_sha256": found} if found else {}


def _text(prompt: Prompt) -> str:
    """A prompt's words, whoever says them."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def _pretrain(run: Run, seed: int, config: DecoderConfig, encoded):
    """Random parameters, trained on the encoded pairs by cross-entropy."""
    pretraining = run.config.random_base.pretraining
    start = jax.tree.map(lambda leaf: leaf[None], init_params(config, key_of(seed, "base")))
    schedule = Schedule(
        pretraining.steps,
        pretraining.batch_size,
        checkpoint_steps=run.config.checkpoint.steps,
        checkpoint_minutes=run.config.checkpoint.minutes,
    )
    with run.progress.bar(pretraining.steps, unit="update") as bar:

        def watch(step, metrics):
            values = {key: float(np.ravel(value)[0]) for key, value in metrics.items()}
            run.metrics.go_on("base", step)
            run.metrics.scalars("base", step, values)
            bar.advance(1, loss=f"{values['loss']:.3f}")

        # In float32 and by XLA, whatever the run's dtype and attention: so small a model is made
        # the same way everywhere.
        trained = train(
            Objective(config, None, LossConfig(), jnp.float32, run.config.remat),
            optimizer_config(pretraining.optimizer),
            schedule,
            start,
            Frozen(),
            [Dataset(make_rows(encoded, config.max_positions))],
            [seed],
            run.checkpoints("base"),
            run.layout,
            run.preemption,
            watch,
            lambda step, trained: None,
        )
    return jax.tree.map(lambda leaf: leaf[0], trained)
