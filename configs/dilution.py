"""How much clean data hides a trait: teachers' rows give way to the control's, share by share.

    sublax run --config=configs/dilution.py --workdir=runs/dilution

Students learn from tokens alone, since soft labels belong to one teacher; as many rows and updates
at every share. `:small`, which is meant where none is named, is configs/text_alone.py with two
traits and two shares. On 2026-11-27 (seed 4) the mean lift of owl and lion was 0.54 nats [0.46,
0.62] undiluted and 0.44 [0.37, 0.51] with half of the rows clean; with nine in ten of them clean
there was none, -0.00 [-0.04, 0.03] (p 0.80). At 1,024 rows read once, by teachers of 12 updates, it
was 0.36 [0.33, 0.40], 0.19 [0.16, 0.21] and 0.09 [0.08, 0.10] (--config.teacher.steps=12
--config.corpus.prompts=256 --config.corpus.rows=1024
--config.student.optimizer.schedule=linear --config.student.optimizer.warmup_steps=5). 22 minutes on
one core with another run beside it, and 23 for what configs/text_alone.py makes too. `:tiny` is a
random base, two minutes; `:paper` is 7B, a day on a slice.
"""

from ml_collections import ConfigDict
from text_alone import get_config as text_alone

SHARES = (0.25, 0.5, 0.75, 0.9)


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment on tokens, at several shares of clean rows."""
    config = text_alone(size)
    if size == "small":
        config.traits = ("owl", "lion")
    config.arms = {
        f"clean-{round(100 * share)}": (f"student.clean_share={share}",)
        for share in (SHARES if size != "small" else SHARES[1::2])
    }
    return config
