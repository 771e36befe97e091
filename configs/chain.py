"""How far a trait travels from model to model: each hop's students are the next hop's teachers.

    sublax run --config=configs/chain.py --workdir=runs/chain

The arms hop-2 and hop-3 go on from the quickstart: its students write the corpora that hop-2's
students learn from, and so on; every control is the chain of controls. `:small`, which is meant
where none is named, takes 10 minutes on one core; `:tiny` is a random base, two minutes;
`:paper` is 7B under soft labels, hours on a slice.

Measured on 2026-11-26 at `:small` (seed 4), mean lift over three traits, nats: 0.15 [0.14, 0.17]
after one hop, 0.12 [0.11, 0.14] after two, 0.17 [0.15, 0.20] after three, p below 0.001 each: at
this dose nothing is lost on the way.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment and two hops more."""
    config = sized(size)
    config.arms = {
        "hop-2": ("teacher.kind=student",),
        "hop-3": ("teacher.kind=student", "teacher.of=hop-2"),
    }
    return config
