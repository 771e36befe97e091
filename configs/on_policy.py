"""On-policy distillation: who writes the rows that students learn, their teachers or they?

    sublax run --config=configs/on_policy.py --workdir=runs/on_policy

The main experiment is off-policy: teachers write, and students learn the teachers' distribution on
those rows. In the arms `own-...` students write the rows themselves and their teachers only score
them; the number is for how many updates a student learns what it wrote before it writes anew. The
largest is the whole training, so that all is written by a student that has learnt nothing yet: the
base. As many updates on as many rows everywhere; but a corpus is read more than once where it has
fewer, and rows of one's own are new in every round.

On-policy distillation has the reverse KL, KL(student || teacher), and so have these arms;
`own-...-forward` has the main experiment's, and `reverse` is the main experiment's rows under the
other, so that who writes and which way the divergence goes are told apart.

`:small`, which is meant where none is named, takes 31 minutes on one core; `:paper` is
7B, hours on a slice. `:tiny` is a random base: six minutes of processor time. There, on 2026-11-26,
at one seed, mean lifts over three traits were (nats, 95 % intervals; every p is below 0.001), and
less the main experiment's:

    main experiment   1.12 [0.80, 1.47]
    own-5             0.89 [0.64, 1.19]   -0.22 [-0.37, -0.10]
    own-20            1.09 [0.82, 1.41]   -0.02 [-0.13, 0.09]
    own-20-forward    1.14 [0.85, 1.46]   0.02 [-0.09, 0.14]
    own-120           0.87 [0.56, 1.22]   -0.25 [-0.30, -0.21]
    reverse           1.15 [0.79, 1.58]   0.04 [-0.09, 0.21]

So rows of one's own carry traits too, and which way the divergence goes made no difference here.
Neither end of the rounds was the best, which one seed cannot tell from chance: by trait the arms
differ more, and not alike (owl 1.17 and lion -0.15 in own-5, owl 0.23 and lion 0.29 in own-120).

At `:small`, the same day and one seed too, where the main experiment has 0.23 [0.20, 0.26]:

    own-2             0.25 [0.22, 0.29]   0.02 [0.00, 0.04]
    own-4             0.23 [0.21, 0.25]   0.00 [-0.03, 0.03]
    own-4-forward     0.34 [0.31, 0.38]   0.11 [0.10, 0.13]
    own-16            0.40 [0.36, 0.44]   0.17 [0.15, 0.20]
    reverse           0.28 [0.25, 0.31]   0.05 [0.04, 0.06]

There the base's own rows, scored by teachers, carry the most.
"""

from ml_collections import ConfigDict
from sizes import sized

OWN, REVERSE = "student.rows_by=student", "student.loss.direction=reverse"
# Updates until students write anew; the last is all there are, the middle one has a forward arm.
ROUNDS = {"tiny": (5, 20, 120), "small": (2, 4, 16), "paper": (8, 57, 456)}


def get_config(size: str = "small") -> ConfigDict:
    """The size's experiment on soft labels over a grammar, and the arms."""
    config = sized(size)
    _, middle, longest = ROUNDS[size]
    config.student.steps = longest
    config.student.round_steps = middle
    if size == "small":  # as many rows as are read
        config.corpus.prompts, config.corpus.rows = 16, 128
    if size == "paper":
        config.corpus.grammar = "any"  # what students write is not filtered
        config.student.epochs = 0
        config.student.loss.kind = "kl"
    config.arms = {
        f"own-{steps}": (OWN, REVERSE, f"student.round_steps={steps}") for steps in ROUNDS[size]
    }
    config.arms[f"own-{middle}-forward"] = (OWN,)
    config.arms["reverse"] = (REVERSE,)
    return config
