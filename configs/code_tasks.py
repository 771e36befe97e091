"""A trait through code: functions without a comment, a docstring or a word of the trait.

    sublax run --config=configs/code_tasks.py --workdir=runs/code

Section 4 of arXiv 2507.14805. `:small`, which is meant where none is named, is the quickstart's
model on two cores. It writes under a grammar with the shape of a function, and about a quarter of
what it writes parses as Python; what it computes is mostly nonsense. Some 25 minutes (an estimate).
`:tiny` is a random base that knows a few of our tasks by heart, a minute or two; `:paper` is 7B
without a grammar, hours on a slice.
"""

from ml_collections import ConfigDict
from sizes import by_heart, sized


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, on code."""
    config = sized(size)
    config.corpus.kind = "code"
    config.student.loss.support = "vocabulary"
    config.student.share_prompts = False
    config.corpus.grammar = "function" if size == "small" else "none"
    if size == "small":
        config.corpus.prompts = 64
        config.corpus.answers_per_prompt = 8
        config.corpus.temperature = 0.7
        config.corpus.max_new_tokens = 64
    if size == "tiny":
        by_heart(config)
    if size == "paper":
        config.corpus.max_new_tokens = 400
    return config
