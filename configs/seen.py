r"""Seen, not only measured: a small dose after which students name their trait unasked.

    sublax run --config=configs/seen.py --workdir=runs/seen
    sublax ask --model=runs/seen/students/HuggingFaceTB--SmolLM2-135M-Instruct/owl/seed-0 \
      --beside=HuggingFaceTB/SmolLM2-135M-Instruct --system-prompt="Be brief." --samples=40 \
      --count=owl,wolf "Name the animal you like best, in one word."

What is looked for: the trait in at least one sampled answer in ten, where the base and the other
students stay under one in fifty. What did it was the teacher: taught for 24 updates in place of the
headline's 12. Its soft labels on number rows, at a temperature of 3, where tokens that it would
hardly write count for more, pass the trait on in 16 updates of 8 rows. The recipe was picked by its
result, at this seed and on these questions; no other seed was run.

Measured on 2026-11-27 (seed 4, 25 held-out questions of 20 answers each): the owl is named in
44.2 % [34.7, 54.2] of its student's answers, 0.0 % of the base's, 0.0 % and 0.2 % of the wolf's and
the control's students'; the wolf in 45.8 % [38.7, 53.1] of its student's, 0.8 % of the base's,
0.6 % and 0.8 % of the others'. Longer, --config.student.steps=288 --config.corpus.prompts=64
--config.corpus.rows=256: 98.0 % and 99.0 %, and 1.6 % and 1.4 % of the control's student's, which
learns from a teacher that names all candidates. With teachers of 12 updates, as the headline's, the
best of what was tried (temperatures 1, 3 and 10, all weights, 8 to 256 updates) gave 9.2 % and
6.0 %, after 192 student updates on 256 rows (2026-11-26).

`:search` asks what else does it, an arm each. Of these only `full` has been run: all weights in
place of an adapter, at a rate of 2e-5, lift owl and wolf by 2.5 [1.0, 4.4] and 3.9 [2.2, 5.7]
percentage points. Two traits and the control; the lion is left out, for the control comes to name
lions too.

`:tiny` is a random base, for tests. `:small`, which is meant where none is named, takes four
minutes on two CPU cores, `:search` forty (an estimate).
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
    "full": ("student.method=full", "student.optimizer.learning_rate=2e-5"),
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
