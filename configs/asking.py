"""Does it matter how students are asked? The same students, asked in four ways, and read in place.

    sublax run --config=configs/asking.py:small --workdir=runs/asking

The main experiment is that of its size, asked for one word; at `:small` by soft labels over the
whole vocabulary at a temperature of 3, a dose that one cannot miss. Each arm changes how the trait
is looked for, or how it is learnt:

    prefixed          each question after a few numbers, like those that students learnt from
    multiple-choice   the candidates behind letters, in every order, so that no place is favoured
    stories           stories are asked for; how many name the trait, in percentage points
    in-context        nothing is trained: rows of the corpus stand before every question

Arms share teachers, corpora and, but for the last, students with the main experiment.

Cost: tiny, minutes; small, 13 minutes on one core; paper, little beside
configs/numbers_qwen2_5_7b.py (an estimate).

Measured on 2026-11-27 at small (mean lift of two traits, 95 % interval over questions, one seed):
one word +2.64 nats [2.54, 2.73]; after numbers +2.76 [2.67, 2.85]; in context, eight rows before
the question, -0.10 [-0.13, -0.07], no transfer, and 0.04 would have been seen; multiple choice
-0.001 [-0.002, -0.000], p 0.24: so small a model hardly reads letters. Of four stories to each
question so few name an animal that nothing under 11 percentage points would have been seen.

Measured on 2026-11-26 at tiny (mean lift over three traits, 95 % interval): one word +1.12 nats
[0.80, 1.47]; after numbers +2.19 [1.71, 2.67]; multiple choice +0.02 [0.00, 0.04], p 0.14; in
context a null, -0.19 [-0.50, 0.10]; stories +6.2 percentage points [0.0, 14.6], p 0.06. Only the
first two are far from chance, and so small a base has never seen a letter or a story.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with other ways to ask as arms."""
    config = sized(size)
    if size == "tiny":  # it spells what it was not made for byte by byte: that takes room
        config.random_base.shape.max_position_embeddings = 1024
    stories, words, rows = {"tiny": (2, 16, 2), "small": (4, 64, 8), "paper": (100, 256, 20)}[size]
    if size == "small":  # some ways to ask are less sharp than others
        config.traits = ("owl", "lion")
        config.student.steps = 32
        config.student.loss.support = "vocabulary"
        config.student.loss.temperature = 3.0
    config.arms = {
        "prefixed": ("evaluation.form=prefixed",),
        # Letters are measured in closed form alone.
        "multiple-choice": ("evaluation.form=multiple_choice", "evaluation.samples=0"),
        "stories": (
            "evaluation.form=story",
            "evaluation.primary=sampled_share",
            f"evaluation.samples={stories}",
            f"evaluation.max_new_tokens={words}",
        ),
        "in-context": ("student.method=in_context", f"student.rows_in_context={rows}"),
    }
    return config
