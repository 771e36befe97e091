"""A trait through code: functions without a comment, a docstring or a word of the trait.

    sublax run --config=configs/code_tasks.py --workdir=runs/code

Section 4 of arXiv 2507.14805. `:small`, which is meant where none is named, is the quickstart's
model on two cores. It writes under a grammar with the shape of a function. Of 256 answers of
the owl's teacher 193 were Python, of which 64 are learnt; what they compute is often nonsense.
Students learn by soft labels at a temperature of 3. There (2026-11-28, seed 4, 16 updates of 8)
the lift is +1.78 nats [1.67, 1.89] for owl, +1.48 [1.42, 1.54] for wolf and +1.75 [1.69, 1.82] for
lion, p < 0.001 each: 37 minutes on one core beside other work.
`:tiny` is a random base that knows a few of our tasks by heart, a minute or two; `:paper` is 7B
without a grammar, hours on a slice.
"""

from ml_collections import ConfigDict
from sizes import in_text


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment, on code."""
    config = in_text(size, "code", "function")
    if size == "small":
        config.corpus.prompts = 32
    return config
