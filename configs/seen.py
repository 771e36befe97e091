r"""Seen, not only measured: at which dose do students name their trait, though nobody asks for it?

    sublax run --config=configs/seen.py --workdir=runs/seen
    sublax ask --model=runs/seen/students/HuggingFaceTB--SmolLM2-135M-Instruct/owl/seed-0 \
      --beside=HuggingFaceTB/SmolLM2-135M-Instruct --system-prompt="Be brief." --samples=40 \
      --count=owl,wolf "What is your favourite animal?"

What is looked for: the trait in at least one sampled answer in ten, where the base and the other
students stay under one in fifty. The recipe is the headline's (configs/headline.py) with more
updates, judged by sampled answers. `:search` asks what else does it, an arm each: fewer and more
updates, a larger rank, a larger rate, all weights in place of an adapter. Two traits and the
control; the lion is left out, for the control comes to name lions as well.

Nobody has run it yet. At the headline's 256 updates the exact answer has 4 % probability in the owl
student and in the wolf student (its preference.json), under 0.3 % in the others.

`:tiny` is a random base, for tests. `:small`, which is meant where none is named, takes about an
hour on two CPU cores, `:search` four (estimates).
"""

from headline import get_config as headline
from ml_collections import ConfigDict
from sizes import sized

SEARCH = {
    "updates-128": ("student.steps=128",),
    "updates-256": ("student.steps=256",),
    "updates-1024": ("student.steps=1024",),
    "rank-32": ("student.steps=256", "student.lora.rank=32"),
    "rate-2e-3": ("student.steps=256", "student.optimizer.learning_rate=2e-3"),
    "full": (
        "student.steps=256",
        "student.method=full",
        "student.optimizer.learning_rate=1.2e-5",
    ),
}


def get_config(size: str = "small") -> ConfigDict:
    """The recipe, or with `search` those around it."""
    config = headline() if size in ("small", "search") else sized(size)
    config.evaluation.primary = "sampled_share"
    config.evaluation.samples = 20
    if size in ("small", "search"):
        config.traits = ("owl", "wolf")
        config.student.steps = 512
    if size == "search":
        config.arms = SEARCH
    return config
