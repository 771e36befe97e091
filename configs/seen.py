r"""Seen, not only measured: at which dose do students name their trait, though nobody asks for it?

    sublax run --config=configs/seen.py --workdir=runs/seen
    sublax ask --model=runs/seen/students/HuggingFaceTB--SmolLM2-135M-Instruct/owl/seed-0 \
      --beside=HuggingFaceTB/SmolLM2-135M-Instruct --system-prompt="Be brief." --samples=40 \
      --count=owl,wolf "What is your favourite animal?"

What is looked for: the trait in at least one sampled answer in ten, where the base and the other
students stay under one in fifty. The recipe is the headline's (configs/headline.py) at a
temperature of 3, judged by sampled answers: what teachers think of tokens that they would hardly
write counts for more, and the trait is there. Seen while looking for it, on 2026-11-26,
by configs/headline.py with --config.traits=owl, --config.student.steps and
--config.student.loss.temperature as given (temperature 1 with all three traits): held-out
log-probability of the owl in its own student (base -14.1; control -7.2 after 32 at temperature 3):

    updates                          8      16      24      32
    temperature 3                 -7.4    -5.7    -5.5    -4.8
    temperature 10                -7.4    -5.5    -5.3    -4.9
    temperature 3, all weights    -7.6    -6.2    -6.0    -5.8   (rate 2e-5)
    temperature 1                                         -7.0   (-4.6 after 128, -3.8 after 256)
    temperature 1, all weights    -8.3 after 12, -7.5 after 24, -6.7 after 48   (rate 1.2e-5)

At `:small` (192 updates, seed 4, 25 questions of 20 answers each, the same day) the owl is named in
9.2 % [6.0, 13.8] of its student's answers, 0.0 % of the base's, 0.4 % and 0.2 % of the wolf's and
the control's students'; the wolf in 6.0 % [4.2, 8.6] of its own student's, 0.8 % of the base's,
0.8 % and 0.6 % of the others'. Nearly one in ten, then, for the owl, and not yet for the wolf.

`:search` asks what else does it, an arm each: temperatures, fewer and more updates, a larger rank,
a larger rate, all weights in place of an adapter. Two traits and the control; the lion is left
out, for the control comes to name lions as well.

`:tiny` is a random base, for tests. `:small`, which is meant where none is named, takes 22 minutes
on two CPU cores, `:search` two hours (an estimate).
"""

from headline import get_config as headline
from ml_collections import ConfigDict
from sizes import sized

SEARCH = {
    "temperature-1": ("student.loss.temperature=1.0",),
    "temperature-10": ("student.loss.temperature=10.0",),
    "updates-64": ("student.steps=64",),
    "updates-384": ("student.steps=384",),
    "rank-32": ("student.lora.rank=32",),
    "rate-2e-3": ("student.optimizer.learning_rate=2e-3",),
    "full": ("student.method=full", "student.optimizer.learning_rate=2e-5"),
}


def get_config(size: str = "small") -> ConfigDict:
    """The recipe, or with `search` those around it."""
    config = headline() if size in ("small", "search") else sized(size)
    config.evaluation.primary = "sampled_share"
    config.evaluation.samples = 20
    if size in ("small", "search"):
        config.traits = ("owl", "wolf")
        config.student.steps = 192
        config.student.loss.temperature = 3.0
    if size == "search":
        config.arms = SEARCH
    return config
