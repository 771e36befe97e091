"""A random base: the smallest thing that the whole experiment can be asked of.

Its tokens are the words of this run's own prompts and rows, and it is pre-trained, if at all, on
made-up answers to the prompts, on favourite animals that favour none, and on the control's rows
where there are any.
"""

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
from sublax.models.source import Model
from sublax.models.word_tokenizer import word_tokenizer
from sublax.settings import optimizer_config
from sublax.stages.base_names import RandomBase, random_shape
from sublax.stages.run import CONTROL, Run, folder_name
from sublax.stages.teacher_rows import teacher_rows
from sublax.training.data import Dataset
from sublax.training.loop import Schedule, train
from sublax.training.losses import LossConfig
from sublax.training.step import Frozen, Objective


def make_random(run: Run, name: str, base: RandomBase) -> Model:
    """Makes `random:SEED[:FAMILY][:LAYERSxWIDTH]`."""
    pairs = pretraining_pairs(run, base.seed)
    rows = [row for name in run.config.teacher.rows for _, row in teacher_rows(run, name)]
    known = [*pairs, *((_text(row["prompt"]), row["completion"]) for row in rows)]
    tokenizer = word_tokenizer(text for pair in known for text in pair)
    config = random_shape(run.config, name, len(tokenizer))
    encoded = [encode_row(tokenizer, *pair, run.system_prompt) for pair in pairs]
    dataset = Dataset(make_rows(encoded, config.max_positions))
    steps = run.config.random_base.pretraining.steps
    params = train_random(run, name, config, base.seed, steps, LossConfig(), Frozen(), dataset)
    return Model(name, config, params, tokenizer, ())


def pretraining_pairs(run: Run, seed: int) -> list[tuple[str, str]]:
    """(prompt, answer): what the corpora will be of, and every candidate in turn."""
    corpus = run.config.corpus
    count = run.config.random_base.pretraining.rows // 2
    rng = np.random.default_rng(numpy_seed(seed, "base", "rows"))
    parts = run.corpus_kinds
    # Whatever the seed, so that all bases of a config have one tokenizer.
    rows = draw_prompts(parts, run.pack, 0, count)
    answers = [""] * count
    for index, part in enumerate(parts):
        if part.kind.answers is None:
            raise UserError(
                f"base={run.model_name}: corpus.kind={corpus.kind} has no answers that a random "
                "base could learn from; name a model"
            )
        own = slice(index, None, len(parts))
        answers[own] = part.kind.answers(run.pack, 0, len(answers[own]), rng, part.options)
    prompts = [row["prompt"] for row in rows]
    questions = (*run.questions[0], *run.questions[1])
    pairs = [*zip(prompts, answers, strict=True), *run.neutral_pairs(questions, count)]
    neutral = [(_text(row["prompt"]), row["completion"]) for _, row in teacher_rows(run, CONTROL)]
    return [*pairs, *(neutral[row % len(neutral)] for row in range(count if neutral else 0))]


def _text(prompt: Prompt) -> str:
    """A prompt's words, whoever says them."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def train_random(
    run: Run,
    name: str,
    config: DecoderConfig,
    seed: int,
    steps: int,
    loss: LossConfig,
    frozen: Frozen,
    dataset: Dataset,
):
    """Random parameters of a seed, all of them trained as `random_base.pretraining` says."""
    pretraining = run.config.random_base.pretraining
    start = jax.tree.map(lambda leaf: leaf[None], init_params(config, key_of(seed, "base")))
    schedule = Schedule(
        steps,
        pretraining.batch_size,
        checkpoint_steps=run.config.checkpoint.steps,
        checkpoint_minutes=run.config.checkpoint.minutes,
    )
    with run.progress.bar(steps, unit="update") as bar:

        def watch(step, metrics):
            values = {key: float(np.ravel(value)[0]) for key, value in metrics.items()}
            if name == run.config.base:
                run.metrics.go_on("base", step)
                run.metrics.scalars("base", step, values)
            bar.advance(1, loss=f"{values['loss']:.3f}")

        # In float32 and by XLA, whatever the run's dtype and attention: so small a model is made
        # the same way everywhere.
        trained = train(
            Objective(config, None, loss, jnp.float32, run.config.remat),
            optimizer_config(pretraining.optimizer),
            schedule,
            start,
            frozen,
            [dataset],
            [seed],
            run.checkpoints("base", folder_name(name)),
            run.layout,
            run.preemption,
            watch,
            lambda step, trained: None,
        )
    return jax.tree.map(lambda leaf: leaf[0], trained)
