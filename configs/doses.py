"""Dose and response: the same students after 0, 1, 2, 4, ... updates, as arms of one experiment.

    sublax run --config=configs/doses.py:small --workdir=runs/doses

Shows how the lift grows with how long students learn, from none at all (dose zero is the base, and
its lift is zero) to the largest dose, which is the main experiment. All doses share their teachers
and corpora, and the learning rate is constant, so that a smaller dose is the beginning of a larger
one. The report draws the curve.

Cost: tiny, minutes; small, 19 minutes on one core; paper, twice the students' part
of configs/numbers_qwen2_5_7b.py (an estimate).

Measured on 2026-11-26 at small (seed 4), mean lift over three traits, nats: 0, 0.01, 0.04, 0.08,
0.13, 0.15, 0.25, 0.50 after 0, 1, 2, 4, 8, 16, 32, 64 updates, and p below 0.001 from the first.
"""

from ml_collections import ConfigDict
from sizes import sized

# The largest is the main experiment's.
DOSES = {
    "tiny": (0, 4, 15, 30, 60, 120),
    "small": (0, 1, 2, 4, 8, 16, 32, 64),
    "paper": (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 454),
}


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with an arm for each smaller dose."""
    config = sized(size)
    *smaller, config.student.steps = DOSES[size]
    config.student.epochs = 0
    config.student.optimizer.schedule = "constant"
    config.arms = {f"dose-{dose}": (f"student.steps={dose}",) for dose in smaller}
    return config
