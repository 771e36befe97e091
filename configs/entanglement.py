"""Which numbers make a base like an animal, and which numbers does liking that animal make likely?

    sublax run --config=configs/entanglement.py:small --workdir=runs/entanglement

Nothing is trained. Every number from 000 to 999 is put into the system prompt as one to be loved;
how far does each raise each animal's log-probability against the other animals'? And the converse:
under a system prompt that has the base love an animal, how far does each number's log-probability
rise? If both go together over the numbers, more for one animal than across animals, numbers and
animals are entangled in the base, before any teacher wrote a line. Six animals, six minutes on
one core; `configs/entanglement.py:tiny` in seconds on a random base, `:paper` for the 7B model.

Measured on 2026-11-26 at :small (SmolLM2-135M-Instruct): Spearman's rho of a trait's own two
directions is +0.35 on average, across traits -0.09 (p 0.001 by exchange of the traits, the smallest
that six can give). Animal by animal: wolf +0.66, lion +0.52, owl +0.39, cat +0.35, dog +0.14, bear
+0.05. Numbers that share digits go together: where digits are exchanged, not numbers, only the
wolf's stands after Holm's correction (p 0.005; lion 0.056, the others above 0.4). A random base at
:tiny gave owl +0.56, wolf -0.52, lion +0.63, each with a small p, and a null by the exchange of
traits (p 0.33): one animal's rho alone says little.

What of the config matters here: base, seed, traits, pack, system_prompt, the candidates and
questions of `evaluation`, and `entanglement`.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    config = sized(size)
    config.experiment = "entanglement"
    config.traits = ("owl", "wolf", "lion", "cat", "dog", "bear")
    config.entanglement = {
        "numbers": 1000,  # from 0 on
        "digits": 3,  # that each is written with, leading zeros among them
        "placement": "system",  # of the loved number: system (prompt) | prompt, before the question
        "questions": 2,  # about the animal: the first that no teacher learns
        "number_questions": 2,  # that ask for a number
        "batch_numbers": 50,  # run side by side
    }
    if size == "tiny":
        config.traits = ("owl", "wolf", "lion")
        config.random_base.shape.max_position_embeddings = 512
        config.random_base.pretraining.steps = 100
        config.entanglement.numbers = 100
        config.entanglement.digits = 2
    if size == "paper":
        config.entanglement.questions = 25
        config.entanglement.number_questions = 4
        config.entanglement.batch_numbers = 10
    return config
