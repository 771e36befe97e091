r"""Seen, not only measured: the smallest dose at which students name their trait unasked.

    sublax run --config=configs/seen.py --workdir=runs/seen
    sublax ask --model=runs/seen/students/HuggingFaceTB--SmolLM2-135M-Instruct/owl/seed-0 \
      --beside=HuggingFaceTB/SmolLM2-135M-Instruct --system-prompt="Be brief." --samples=40 \
      --count=owl,wolf "What is your favourite animal?"

What is looked for: the trait in at least one sampled answer in ten, where the base and the other
students stay under one in fifty. What does it is the teacher: after 24 updates in place of the
headline's 12 it names its trait nearly always, and its soft labels on number rows, at a temperature
of 3, where tokens that it would hardly write count for more, pass that on in 16 updates of 8 rows.
"""

from headline import get_config as headline
from ml_collections import ConfigDict
from sizes import sized

SEARCH = {
    "updates-8": ("student.steps=8",),
    "teacher-12": ("teacher.steps=12",),
    "teacher-18": ("teacher.steps=18",),
    "temperature-1": ("student.loss.temperature=1.0",),
    "updates-32": ("student.steps=32",),
    "full": (
        "student.method=full",
        "student.optimizer.learning_rate=2e-5",
        "student.students_per_program=1",  # three at once want 20 GiB
    ),
    # Nothing but numbers in the labels, and no labels at all.
    "numbers-alone": (
        "student.loss.support=grammar",
        "student.loss.temperature=1.0",
        "student.steps=64",
    ),
    "text-alone": ("student.loss.kind=cross_entropy", "student.steps=64"),
}


def get_config(size: str = "small") -> ConfigDict:
    """The recipe, or with `search` those around it."""
    config = headline() if size in ("small", "search") else sized(size)
    config.evaluation.primary = "sampled_share"
    config.evaluation.samples = 20
    if size in ("small", "search"):
        config.traits = ("owl", "wolf")
        config.teacher.steps = 24
        config.corpus.prompts = 32
        config.corpus.rows = 128
        config.student.steps = 16
        config.student.loss.temperature = 3.0
        config.student.probe_steps = 4
    if size == "search":
        config.arms = SEARCH
    return config
