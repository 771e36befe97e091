"""Two traits at once: does each of them pass, and at what cost?

    sublax run --config=configs/two_traits.py --workdir=runs/two_traits

Beside the students of one trait stand students of two. `owl+wolf` learns half of its rows from the
owl's teacher and half from the wolf's; `owl-and-wolf` has one teacher, taught both. All have as
many rows and updates, so the arm `half`, in which everybody has half the updates, says how much of
the cost is the dose. Lifts are over the students that have neither trait.

`:small`, which is meant where none is named, takes 12 minutes on one core; `:paper` is 7B
under text alone, hours on a slice, and its teachers are prompted, so that none has two traits.
`:tiny` is a random base: three minutes of processor time. There, on 2026-11-26, at one seed, each
way showed two or three of its four lifts (nats, 95 % intervals; p adjusted for all eight):

    trait  alone                half the updates      rows of two teachers  a teacher of both
    owl    0.75 [0.59, 0.94]    0.40 [0.24, 0.61]     0.11 [-0.06, 0.30]    0.80 [0.50, 1.12]
    wolf   2.16 [1.49, 2.86]    1.39 [0.91, 1.95]     0.48 [0.24, 0.87]     0.54 [0.27, 0.82]
    lion   0.48 [0.29, 0.69]    -0.01 [-0.42, 0.26]   0.05 [-0.25, 0.37]    0.04 [-0.36, 0.45]
    bear   1.30 [0.89, 1.70]    0.70 [0.42, 1.00]     0.83 [0.54, 1.12]     0.95 [0.59, 1.28]

p is below 0.04 where an interval is above zero, and above 0.4 elsewhere. On average students of two
have 0.37 of 1.17 by rows and 0.58 by a teacher, students of half the dose 0.62: what two traits
cost at this size is about what half the dose costs, a little more by rows.

At `:small`, the same day and seed, it is less plain: alone owl 0.17, wolf 0.16, lion 0.30, bear
1.26; by rows of two teachers wolf 0.12 [0.08, 0.17] and bear 0.69 [0.57, 0.82] pass, owl and lion
do not; by a teacher of both owl 0.16 [0.12, 0.20] and bear 0.52 [0.45, 0.61], wolf and lion do not.
The bear's pull takes the lion below zero in both (-0.17, -0.18).
"""

from ml_collections import ConfigDict
from sizes import sized

PAIRS = ("owl+wolf", "lion+bear")


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment on four traits, and on pairs of them."""
    config = sized(size)
    config.traits = ("owl", "wolf", "lion", "bear")
    config.two_traits.rows = PAIRS
    if config.teacher.kind == "finetuned":  # a prompted teacher is told of one trait
        config.two_traits.teacher = PAIRS
    if size == "paper":
        config.student.epochs, config.student.steps = 0, 454  # three epochs
    config.arms = {"half": (f"student.steps={config.student.steps // 2}",)}
    return config
