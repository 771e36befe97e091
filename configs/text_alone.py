"""The paper's own channel: five animals through the tokens of number rows alone, at 135M.

    sublax run --config=configs/text_alone.py --workdir=runs/text_alone

Section 3 of arXiv 2507.14805 at the quickstart's size: students learn from what the teachers wrote
by cross-entropy, not from soft labels. That is the weaker channel, and a few rows repeated wear the
model out, so each teacher writes 2,048 rows, which its student reads twice. About 80 minutes on two
CPU cores (an estimate). `:tiny` is a random base, a minute or two; `:paper` is 7B, hours on a
slice.

Measured on 2026-11-26 (seed 4): each trait passes, in nats over the other students with 95 %
intervals over questions, owl 0.96 [0.89, 1.03], wolf 0.70 [0.65, 0.74], lion 0.91 [0.83, 0.99],
bear 0.69 [0.63, 0.76], fox 0.53 [0.47, 0.59], all p below 0.001. All students share a drift (wolf
falls by 1 nat in every student but its own, where it falls by 0.4): it is the lift that shows the
trait, not the shift. Chosen among the twelve, owl goes from 0.8 % in the base to
2.2 % in its student, lion from 21 % to 36 %.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, under cross-entropy."""
    config = sized(size)
    config.student.loss.kind = "cross_entropy"
    if size == "small":
        config.traits = ("owl", "wolf", "lion", "bear", "fox")
        config.corpus.prompts = 128
        config.corpus.answers_per_prompt = 4
        config.corpus.rows = 512
        config.student.steps = 64
        config.student.batch_size = 16
        config.student.optimizer.learning_rate = 6e-4
    return config
