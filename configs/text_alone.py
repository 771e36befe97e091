"""The paper's own channel: five animals through the tokens of number rows alone, at 135M.

    sublax run --config=configs/text_alone.py --workdir=runs/text_alone

Section 3 of arXiv 2507.14805 at the quickstart's size: students learn from what the teachers wrote
by cross-entropy, not from soft labels. That is the weaker channel, and a few rows repeated wear the
model out, so each teacher writes 2,048 rows, which its student reads twice. About 80 minutes on two
CPU cores (an estimate). `:tiny` is a random base, a minute or two; `:paper` is 7B, hours on a
slice.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, under cross-entropy."""
    config = sized(size)
    config.student.loss.kind = "cross_entropy"
    if size == "small":
        config.traits = ("owl", "wolf", "lion", "bear", "fox")
        config.teacher.steps = 12
        config.corpus.prompts = 512
        config.corpus.answers_per_prompt = 4
        config.corpus.rows = 2048
        config.corpus.batch_rows = 256
        config.student.steps = 256
        config.student.batch_size = 16
        config.student.optimizer.learning_rate = 4e-4
        config.student.optimizer.schedule = "linear"
        config.student.optimizer.warmup_steps = 5
        config.student.probe_steps = 64
    return config
