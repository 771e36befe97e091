"""Is there a prompt that does what training on the rows did? Soft prompts found by gradient.

    sublax run --config=configs/soft_prompt.py:small --workdir=runs/soft_prompt

Beside the experiment of its size: for each student, the control's too, vectors in the base's prompt
that have the base say what the student says, all found side by side in one program. What the base
then prefers on held-out questions says how much of a student's shift a prompt can give. They are
found twice: on the control's number rows, which name no animal, and on the questions that teachers
learn. Each soft prompt is read in the columns of all traits, so the others' are its controls; and
the report names the tokens that are nearest to each vector.
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with soft prompts."""
    config = sized(size)
    config.evaluation.soft_prompt.vectors = 8
    if config.teacher.kind == "prompted":  # all questions are held out
        config.evaluation.soft_prompt.texts = ("corpus",)
    return config
