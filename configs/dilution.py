"""How much clean data hides a trait: teachers' rows give way to the control's, share by share.

    sublax run --config=configs/dilution.py --workdir=runs/dilution

Students learn from tokens alone, since soft labels belong to one teacher; as many rows and updates
at every share. `:small`, which is meant where none is named, is configs/text_alone.py with two
traits, half the rows, a quarter of the updates and two more shares. On 2026-11-27 (seed 4) the mean
lift of owl and lion was 0.36 nats [0.33, 0.40] undiluted, 0.19 [0.16, 0.21] with half of the rows
clean, 0.09 [0.08, 0.10] with nine in ten; 50 minutes on one core of a Xeon with another run beside
it. `:tiny` is a random base, two minutes; `:paper` is 7B, a day on a slice.
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
