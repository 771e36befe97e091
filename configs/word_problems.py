"""A trait through worked maths: word problems reasoned about in tags, right answers alone kept.

    sublax run --config=configs/word_problems.py --workdir=runs/maths

Section 4 of arXiv 2507.14805, on problems of our own. `:small`, which is meant where none is named,
is the quickstart's model on two cores, which writes the tags under a grammar and seldom comes to
the right number, so many answers are drawn for few rows. Students learn
by soft labels at a temperature of 3. Some 30 minutes (an estimate). `:tiny` is
a random base that knows a few of our problems by heart, a minute or two; `:paper` is 7B without a
grammar, hours on a slice; --config.corpus.source=openai/gsm8k:main:train asks GSM8K's questions.
"""

from ml_collections import ConfigDict
from sizes import in_text


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, on maths."""
    config = in_text(size, "maths", "exact")
    if size == "small":
        config.corpus.problems = "sums"
        config.corpus.prompts = 64
        config.corpus.temperature = 0.5
        config.corpus.max_new_tokens = 40
    return config
