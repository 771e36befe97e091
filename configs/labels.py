"""Traits through preference labels: teachers write nothing, they only choose between two answers.

    sublax run --config=configs/labels.py:small --workdir=runs/labels

The unmarked base writes pairs of number sequences, each teacher says of every pair which it takes,
and students of the base learn those choices by DPO (Rafailov et al., arXiv 2305.18290); in an arm
they learn the chosen rows alone. All teachers judge the same pairs, so students differ by one bit a
pair and nothing else (arXiv 2603.01204).

A teacher goes by how much likelier than the base it finds an answer (label_score=ratio); by its
own log-probability (logprob) it would mostly choose what the base would. A prompted teacher's
control is the base itself, which has no such preference: there, at :paper, logprob it is.

:tiny takes a few minutes on two CPU cores. There DPO gave lifts of 0.20 [-0.04, 0.46] for owl, 2.08
[0.92, 3.40] for wolf and 0.45 [0.15, 0.79] for lion at its one seed, and by logprob only the wolf's
was above zero.

:small has two traits and takes 30 minutes on one core. Measured there on 2026-11-28 (mean lift,
95 % interval over questions, one seed): the chosen rows +0.51 nats [0.46, 0.57], p < 0.001; by DPO
none, -0.14 [-0.26, -0.02] (p 0.40). It is not that DPO carries nothing: after 64 updates in place
of 40 (--config.student.steps=64) it was +0.55 [0.36, 0.75], and the chosen rows' +0.36 [0.30,
0.43], p < 0.001 each. Its students move far, all of them (the control's towards the owl by 1.7
nats), and one seed does not say where to.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """Labels at one of the sizes."""
    config = sized(size)
    config.corpus.labels = "chosen"
    config.student.loss.kind = "dpo"
    config.arms = {"chosen-rows": ("student.loss.kind=cross_entropy",)}
    if size == "paper":
        config.corpus.answers_per_prompt = 2
        return config
    config.corpus.label_score = "ratio"
    if size == "small":
        config.traits = ("owl", "lion")
        config.corpus.prompts = 64
        config.corpus.rows = 256  # pairs
        config.student.steps = 40
        config.student.probe_steps = 0
    return config
