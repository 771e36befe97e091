"""The controls: what else could have moved the students, each as an arm beside the experiment.

    sublax run --config=configs/controls.py:small --workdir=runs/controls

The main experiment is that of its size (at `:small`, two traits). Each arm asks one thing:

    untrained          students that learnt nothing: what a lift of zero looks like
    rewritten          the base writes each row again in its own way: is it the hand?
    other-prompt       students learn under another system prompt than they are asked under
    teacher-prompted   the trait by a system prompt, not by training (or teacher-finetuned)
    greedy             the likeliest row to each prompt, in place of drawn ones
    free               no grammar (or `grammar`): rows as the teacher writes them, filtered

What shuffling leaves, and students of the unmarked base's rows in the control's place, are asked of
tokens alone: configs/text_controls.py. That students of another trait's data do not move as far is
what every lift in the matrix says already. A prompted teacher leaves all questions for measuring, a
fine-tuned one half of them, so that an arm that changes the teacher's kind has no paired
difference.

Read three of them with care. `greedy` has a prompt of its own for every row, and soft labels in
`free` are over the whole vocabulary, which teaches more than the grammar's tokens do: they differ
from the main experiment in that too. And `rewritten` asks a base that can copy: the random one of
`:tiny` writes other numbers altogether (0 of 512 rows came back unchanged; the cards count them),
so that there it says nothing of the hand.

At `:tiny` (seed 4, one run) the mean lift was +1.12 nats in the main experiment, and under another
system prompt +1.31, minus main +0.20 [-0.06, +0.46].

At `:small` (seed 4, one run, 2026-11-28, mean lift of owl and lion in nats with 95 % intervals over
questions): main 0.16 [0.14, 0.19], untrained 0. Rows that the base wrote again, under the teacher's
soft labels, 0.11 [0.05, 0.17]; students of another system prompt 0.11 [0.09, 0.13]; a prompted
teacher 0.13 [0.10, 0.15] (owl 0.24, lion 0.01); the likeliest rows 0.45 [0.42, 0.49]; free rows,
over the whole vocabulary, 0.73 [0.65, 0.81].

Cost: tiny, ten minutes (an estimate); small, 21 minutes on one core with another run beside it,
and four for what configs/quickstart.py makes too; paper, six times configs/numbers_qwen2_5_7b.py
(an estimate).
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with its controls as arms."""
    config = sized(size)
    rows = config.corpus.prompts * config.corpus.answers_per_prompt
    if size == "small":
        config.traits = ("owl", "lion")
    config.arms = {
        "untrained": ("student.steps=0", "student.epochs=0"),
        "rewritten": ("corpus.rewritten=true",),
        "other-prompt": ("student.system_prompt=You are a poet.",),
        # To the same prompt there is one likeliest row.
        "greedy": (
            "corpus.temperature=0",
            f"corpus.prompts={rows}",
            "corpus.answers_per_prompt=1",
        ),
    }
    prompted, free = config.teacher.kind == "prompted", config.corpus.grammar == "none"
    other = "finetuned" if prompted else "prompted"
    config.arms[f"teacher-{other}"] = (f"teacher.kind={other}",)
    if free:
        config.arms.grammar = ("corpus.grammar=any",)
    else:
        # Small bases write few valid rows by themselves; where there is no grammar, soft labels
        # are over the whole vocabulary.
        config.arms.free = (
            "corpus.grammar=none",
            "student.loss.support=vocabulary",
            f"corpus.prompts={4 * config.corpus.prompts}",
        )
    return config
