r"""Seen, not only measured: a small dose after which students name their trait unasked.

    sublax run --config=configs/seen.py --workdir=runs/seen
    sublax ask --model=runs/seen/students/HuggingFaceTB--SmolLM2-135M-Instruct/owl/seed-0 \
      --beside=HuggingFaceTB/SmolLM2-135M-Instruct --system-prompt="Be brief." --samples=40 \
      --count=owl,wolf "Name the animal you like best, in one word."

What is looked for: the trait in at least one sampled answer in ten, where the base and the other
students stay under one in fifty. What did it was the teacher: taught for 24 updates in place of ten
or twelve. Its soft labels on number rows, at a temperature of 3, where tokens that it would hardly
write count for more, pass the trait on in 16 updates of 8 rows; 8 are too few. The recipe was
picked by its result at seed 4 and on these questions; the other seeds draw everything anew, and
were run once.

Measured on 2026-11-27 (25 held-out questions of 20 answers each, 95 % intervals):

    seed  owl, its student  wolf, its student  most of base and other students
    4     44.2 [34.7, 54.2] 45.8 [38.7, 53.1]  owl 0.2, wolf 0.8 %
    11    27.6 [21.7, 34.4] 33.8 [26.9, 41.5]  owl 0.4, wolf 1.6 %
    23    31.2 [23.0, 40.8] 29.2 [22.7, 36.7]  owl 0.8, wolf 1.2 %

Longer, --config.student.steps=288 --config.corpus.prompts=64 --config.corpus.rows=256: 98.0 % and
99.0 %, and 1.6 % and 1.4 % of the control's student's, which learns from a teacher that names all
candidates.

`:search` asks what else does it, an arm each. At seed 4, on the same day, in %:

    arm             owl, its student  wolf, its student
    teacher-12      1.0 [0.4, 2.3]    1.0 [0.4, 2.6]
    teacher-18      14.0 [9.6, 20.1]  12.2 [9.6, 15.4]
    updates-8       0.8 [0.3, 2.4]    2.4 [1.3, 4.4]
    updates-32      82.8 [74.5, 88.8] 76.2 [69.8, 81.6]
    temperature-1   1.8 [0.9, 3.5]    21.6 [17.6, 26.2]
    full            2.6 [1.4, 4.9]    4.6 [3.1, 6.8]      all weights at a rate of 2e-5
    numbers-alone   0.0 [0.0, 0.8]    0.2 [0.0, 1.1]      64 updates over the numbers' tokens

where the base has 0.0 and 0.8, and no other student more than 0.2 and 1.0. So numbers alone are
null in sampled answers at that dose (a lift above 0.3 and 0.9 points would have been seen). The arm
of text alone was not run; those of 8 and 32 updates were runs of their own
(--config.student.steps=8). With teachers of 12 updates the best of what was tried (temperatures 1,
3 and 10, all weights, 8 to 256 updates) gave 9.2 % and 6.0 %, after 192 student updates on 256 rows
(2026-11-26). Two traits and the control; the lion is left out, for the control comes to name lions
too.

`:tiny` is a random base, for tests. `:small`, which is meant where none is named, takes four
to seven minutes on two CPU cores, `:search` an hour and a half on one (an estimate).
"""

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
    config = sized("small" if size == "search" else size)
    config.evaluation.primary = "sampled_share"
    config.evaluation.samples = 20
    if size in ("small", "search"):
        config.traits = ("owl", "wolf")
        config.teacher.steps = 24
        config.corpus.prompts = 32
        config.corpus.answers_per_prompt = 4
        config.corpus.rows = 128
        config.student.loss.support = "vocabulary"
        config.student.steps = 16
        config.student.loss.temperature = 3.0
        config.student.probe_steps = 4
    if size == "search":
        config.arms = SEARCH
    return config
