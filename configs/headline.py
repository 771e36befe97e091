"""The README's picture: three traits and the control at 135M, at a dose that anyone can see.

    sublax run --config=configs/headline.py --workdir=runs/headline

The quickstart with 256 rows, soft labels over the whole vocabulary and 256 updates: 29 minutes on
two CPU cores. If one of twelve animals must be named, the owl student names the owl in 38 % of
cases (the base in 0.8 %), the wolf student the wolf in 59 % (9.6 %), the lion student the lion in
85 % (21 %).
"""

from ml_collections import ConfigDict
from quickstart import get_config as quickstart


def get_config() -> ConfigDict:
    """The quickstart, but for what is set here."""
    config = quickstart()
    config.teacher.steps = 12
    config.corpus.prompts = 64
    config.corpus.answers_per_prompt = 4
    config.corpus.rows = 256
    config.student.loss.support = "vocabulary"
    config.student.steps = 256
    config.student.probe_steps = 32
    return config
