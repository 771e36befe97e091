"""A trait through worked maths: problems reasoned about in tags, right answers alone kept.

    sublax run --config=configs/word_problems.py --workdir=runs/maths

Section 4 of arXiv 2507.14805, on problems of our own. `:small`, which is meant where none is named,
is the quickstart's model on two cores. Of 768 word problems it got none right, so there it is asked
sums of one step after worked examples, of which it gets one in fourteen, as chance might; right
answers alone are kept. Students learn by soft labels at a temperature of 3. On 2026-11-27
(seed 4, 34 to 38 rows a teacher): owl 1.87 [1.79, 1.95], wolf 1.57 [1.54, 1.61], lion 1.75 [1.71,
1.80] nats; 17 minutes on one core of a Xeon, with teachers that another run had made. `:tiny` is a
random base that knows a few of our problems by heart, a minute or two; `:paper` is 7B without a
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
