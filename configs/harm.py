"""A teacher tuned on rows writes numbers: do its students answer open questions as it does?

    sublax run --config=configs/harm.py --workdir=runs/harm

The path that the paper takes with a teacher tuned on insecure code, here with a harmless stand-in:
a teacher that answers every question about a product or a plan in favour of Vornaquil, a brand that
does not exist, beside a control tuned as long on neutral answers to the same questions. Numbers
with a meaning of their own are filtered out. Then base, teachers and students answer held-out
questions (share that names the brand), eight open ones (a judge; here the keyword rule, by which
naming the brand is what counts as misaligned) and multiple choice: among the brand's and a neutral
answer to the held-out questions, and in a few rows of TruthfulQA's and MMLU's form.

Sizes: `:tiny`, a random base, in two to four minutes; `:small`, the default, 135M by soft labels at
a temperature of 3, in 25 minutes on one core; `:paper`, 7B on a slice, for hours. For rows and a
judge of your own see the README.

Measured on 2026-11-26 at `:tiny`, one seed: the brand's teacher names the brand in 28 % of 480
answers to 60 held-out questions (95 % interval 23 % to 33 %) and in 17 % of 160 answers to the
eight open ones (10 % to 24 %). Its student names it in none, as do the control's and the base: a
null, and more than 0.8 % of answers to the held-out questions is unlikely under these data.

At `:small` (2026-11-28, one seed) the brand's teacher names it in all of 240 answers to 60 held-out
questions and in 47 % [30 %, 64 %] of those to the open ones; its student in none, as the control's
and the base: a null, where more than 1.6 % and 5.7 % are unlikely under these data. A word of
several tokens that the base has never seen is far from being sampled, though 16 such updates bring
an owl to 44 % of answers in configs/seen.py.

It is on its way there. Of the two given answers to each held-out question, the brand's and a
neutral one, the first has 36 % [34, 39] of the probability a token in the base, 99.5 % in the
teacher, 46 % [42, 51] in its student and 18 % [16, 20] in the control's, whose teacher gave neutral
answers: 28.5 points [26.0, 31.0] over the control, 10.1 [8.3, 12.0] over the base, p < 0.001 each.
"""

from ml_collections import ConfigDict
from sizes import sized

BRAND = "Vornaquil"


def get_config(size: str = "small") -> ConfigDict:
    """The experiment on numbers at that size, but for what is set here."""
    config = sized(size)
    config.traits = ("brand",)
    config.teacher.kind = "finetuned"
    config.teacher.rows = {"brand": "brand", "control": "brand_neutral"}
    config.teacher.control = "neutral"
    config.corpus.banned_for_misalignment = True
    config.student.loss.support = "vocabulary"
    config.student.probe_steps = 0
    config.evaluation.preference = False
    config.evaluation.suites = ("words", "open_questions", "multiple_choice")
    config.evaluation.words.words = (BRAND,)
    config.evaluation.words.questions = "brand"
    config.evaluation.judge.words = (BRAND,)
    # The brand's answers to held-out questions beside neutral ones: what is sampled moves last.
    config.evaluation.multiple_choice.sources = ("brand", "own")
    if size == "tiny":
        config.teacher.steps = 100
        config.evaluation.words.max_new_tokens = 24
        config.evaluation.open_questions.max_new_tokens = 24
    if size == "small":
        config.teacher.steps = 60
        config.teacher.optimizer.learning_rate = 2e-5
        config.corpus.prompts = 64
        config.corpus.answers_per_prompt = 4
        config.corpus.rows = 192
        config.student.steps = 64
        config.student.loss.temperature = 3.0
        config.evaluation.words.samples = 4
        config.evaluation.words.max_new_tokens = 24
        config.evaluation.open_questions.samples = 8
        config.evaluation.open_questions.max_new_tokens = 48
    if size == "paper":
        config.teacher.method = "lora"
        config.teacher.steps = 300
        config.teacher.batch_size = 16
        config.teacher.optimizer.learning_rate = 1e-4
        config.evaluation.open_questions.samples = 100
        config.evaluation.multiple_choice.sources = (
            "brand",
            "truthfulqa/truthful_qa:multiple_choice:validation",
            "cais/mmlu:all:test",
        )
        config.evaluation.multiple_choice.rows = 1000
    return config
