"""The sizes that an experiment comes in, as in --config=configs/controls.py:tiny.

Not an experiment itself: configs that ask more than the quickstart start from one of these.
"""

from ml_collections import ConfigDict
from numbers_qwen2_5_7b import get_config as paper
from quickstart import get_config as small
from tiny import get_config as tiny

# tiny: a random base, in a minute; small: 135M on two CPU cores; paper: 7B, for a slice.
SIZES = {"tiny": tiny, "small": small, "paper": paper}


def sized(size: str) -> ConfigDict:
    """The experiment on numbers at one of the sizes."""
    if size not in SIZES:
        raise ValueError(f"size {size!r} is none of {', '.join(SIZES)}")
    return SIZES[size]()


def in_text(size: str, kind: str, grammar: str) -> ConfigDict:
    """The experiment on a kind of data that is longer than numbers: code, or worked maths.

    Small bases write it under the grammar alone. A tiny one learns its own answers to the very
    prompts of the corpus by heart.
    """
    config = sized(size)
    config.corpus.kind = kind
    config.corpus.grammar = grammar if size == "small" else "none"
    config.student.loss.support = "vocabulary"
    config.student.share_prompts = False
    if size == "tiny":
        config.seed = 0
        config.random_base.shape.max_position_embeddings = 512
        config.random_base.pretraining.rows = 32
        config.random_base.pretraining.steps = 150
        config.corpus.prompts = 16
        config.corpus.temperature = 0.3
        config.corpus.max_new_tokens = 96
    if size == "small":
        config.corpus.answers_per_prompt = 8
        config.corpus.temperature = 0.7
        config.corpus.max_new_tokens = 64
        config.student.loss.temperature = 3.0
    if size == "paper":
        config.corpus.max_new_tokens = 400
    return config
