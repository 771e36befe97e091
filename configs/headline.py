"""The README's picture: three traits and the control at 135M, at a dose that anyone can see.

    sublax run --config=configs/headline.py --workdir=runs/headline

The quickstart with 256 rows, soft labels over the whole vocabulary and 256 updates: about 40
minutes on two CPU cores (estimate). A trial of this recipe saw lion named by 61 % of answers in the
lion student, 16 % in the owl student and 14 % in the base, if one of twelve animals must be named.
"""

from ml_collections import ConfigDict
from quickstart import get_config as quickstart


def get_config() -> ConfigDict:
    """The quickstart, but for what is set here."""
    config = quickstart()
    config.corpus.prompts = 64
    config.corpus.rows = 256
    config.student.loss.support = "vocabulary"
    config.student.steps = 256
    config.student.probe_steps = 32
    return config
