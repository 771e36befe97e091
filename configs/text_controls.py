"""Controls of text alone: what in a teacher's rows carries the trait, and against whom it shows.

    sublax run --config=configs/text_controls.py --workdir=runs/text-controls

The main experiment is configs/text_alone.py, two traits at `:small`, which has it in common with
that one (`--reuse=` its workdir). Each arm asks one thing:

    shuffled-within  the numbers of each row in another order: is the order needed?
    shuffled-across  the numbers of all rows dealt anew: are their frequencies enough?
    unmarked-base    the control's rows are the base's, not those of a teacher taught as long

At `:tiny` (seed 4, one run) the mean lift was +1.08 nats; shuffling left a third of that (+0.35
within rows, +0.32 across); the unmarked base's data in place of the control's changed nothing
(+1.11, under soft labels).

At `:small` (seed 4, one run, 2026-11-28, mean lift of owl and lion in nats with 95 % intervals over
questions): 0.54 [0.46, 0.62]; of that 0.41 [0.33, 0.48] is left where each row's numbers are in
another order, and 0.25 [0.20, 0.30] where those of all rows are dealt anew, so about half of it is
in how often a number is written; the unmarked base's data in place of the control's gives 0.63
[0.52, 0.73], which is 0.08 more [0.02, 0.14].

Cost: `:tiny`, some minutes; `:small`, 38 minutes on one core with another run beside it, and 23 for
what configs/text_alone.py makes too; `:paper`, a day on a slice (an estimate).
"""

from ml_collections import ConfigDict
from text_alone import get_config as text_alone


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment on tokens, with its controls as arms."""
    config = text_alone(size)
    if size == "small":
        config.traits = ("owl", "lion")
    config.arms = {
        "shuffled-within": ("student.treatment=shuffled_within",),
        "shuffled-across": ("student.treatment=shuffled_across",),
    }
    if config.teacher.kind == "finetuned":  # a prompted one's control is the base as it is
        config.arms["unmarked-base"] = ("teacher.control=base",)
    return config
