"""The paper's own channel: five animals through the tokens of number rows alone, at 135M.

    sublax run --config=configs/text_alone.py --workdir=runs/text_alone

Section 3 of arXiv 2507.14805 at the quickstart's size: students learn from what the teachers wrote
by cross-entropy, not from soft labels. That is the weaker channel, and a few rows repeated wear the
model out, so each teacher writes 512 rows, which its student reads twice: 44 minutes on one core.
`:long` is four times the rows and the updates, of teachers of 12 updates: an hour and a half where
it was run, two and a half on one core of a slower machine (an estimate). `:tiny` is a random base,
a minute or two; `:paper` is 7B, hours on a slice.

Measured at seed 4, in nats over the other students with 95 % intervals over questions, p below
0.001 each but for the bear at `:small`, a null (p 0.63; 0.14 would have been seen):

            :small (2026-11-27)    :long (2026-11-26)
    owl      0.64 [0.53, 0.74]     0.96 [0.89, 1.03]
    wolf     0.34 [0.30, 0.37]     0.70 [0.65, 0.74]
    lion     0.55 [0.44, 0.65]     0.91 [0.83, 0.99]
    bear    -0.04 [-0.14, 0.06]    0.69 [0.63, 0.76]
    fox      0.31 [0.18, 0.43]     0.53 [0.47, 0.59]

All students share a drift (wolf falls by 1 nat in every student but its own, where it falls by 0.7
at `:small` and 0.4 at `:long`): it is the lift that shows the trait, not the shift. Chosen among
the twelve, owl goes from 0.8 % in the base to 2.9 % and 2.2 % in its student, lion from 21 % to 32
and 36 %.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, under cross-entropy."""
    config = sized("small" if size == "long" else size)
    config.student.loss.kind = "cross_entropy"
    if size in ("small", "long"):
        config.traits = ("owl", "wolf", "lion", "bear", "fox")
        config.corpus.prompts = 128
        config.corpus.answers_per_prompt = 4
        config.corpus.rows = 512
        config.student.steps = 64
        config.student.batch_size = 16
        config.student.optimizer.learning_rate = 6e-4
    if size == "long":
        config.teacher.steps = 12
        config.corpus.prompts = 512
        config.corpus.rows = 2048
        config.corpus.batch_rows = 256
        config.student.steps = 256
        config.student.optimizer.learning_rate = 4e-4
        config.student.optimizer.schedule = "linear"
        config.student.optimizer.warmup_steps = 5
        config.student.probe_steps = 64
    return config
