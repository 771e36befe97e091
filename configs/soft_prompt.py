"""Is there a prompt that does what training on the rows did? Soft prompts found by gradient.

    sublax run --config=configs/soft_prompt.py:small --workdir=runs/soft_prompt

Beside the experiment of its size (at `:small` two traits, by soft labels over the whole vocabulary
at a temperature of 3): for each student, the control's too, vectors in the base's prompt
that have the base say what the student says, all found side by side in one program. What the base
then prefers on held-out questions says how much of a student's shift a prompt can give. They are
found twice: on the control's number rows, which name no animal, and on the questions that teachers
learn. Each soft prompt is read in the columns of all traits, so the others' are its controls; and
the report names the tokens that are nearest to each vector.

Cost: `tiny` is a random base, some minutes; `small` 20 minutes on one core, 16 of them for the
prompts; `paper`, on the rows alone, for its prompted teachers leave all questions to the measure,
hours on a slice (an estimate: it has not been run).

Measured at `small` on 2026-11-27 (seed 4; students' mean lift over two traits +2.64 nats [2.54,
2.73]). Eight vectors found on the control's number rows in 40 updates give a quarter of it, +0.71
[0.65, 0.78], those found on questions +1.41 [1.32, 1.50], p < 0.001 each; in 80 updates +1.30
[1.21, 1.39] and +1.68 [1.57, 1.78] (--config.evaluation.soft_prompt.steps=80). So much of what
students learnt is what a prompt could say, and number rows alone suffice to find it. The fit
matters: KL from the student falls from 0.142 to 0.013 nats a token on rows in 40 updates and to
0.007 in 80, from 1.04 to 0.05 and 0.03 on questions. No vector is near to its trait's token
(3,583rd and 2,646th nearest of 49,152, the others' 4,593rd and 3,999th).

Measured at `tiny` on 2026-11-26 (seed 4; students' mean lift over three traits +1.12 nats). Found
on questions, soft prompts give the whole of it: +1.12 [0.75, 1.53], p < 0.001; owl 0.95 where the
student's is 0.74, wolf 1.98 of 2.13, lion 0.44 of 0.48; r +0.96 over all students and traits (p
0.042, the smallest that four students can give). Found on the rows, they give nothing: -0.03
[-0.17, 0.09], where a mean lift above 0.19 would have been seen. They fit the rows by half alone,
though: KL from the student falls from 0.040 to 0.019 nats a token there, and from 0.37 to 0.04 on
questions. The vectors cannot be read: the trait's own token is on average the 12th nearest to one
of its own soft prompt's and the 15th to one of the others' (p 0.5). The fit matters: where the
rate fell along a cosine, KL on questions stayed at 0.07, and the lift at 0.80 [0.47, 1.17].
"""

from ml_collections import ConfigDict
from sizes import sized


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with soft prompts."""
    config = sized(size)
    config.evaluation.soft_prompt.vectors = 8
    if size == "small":
        config.traits = ("owl", "lion")
        config.student.steps = 32
        config.student.loss.support = "vocabulary"
        config.student.loss.temperature = 3.0
        config.evaluation.soft_prompt.steps = 40
        config.evaluation.soft_prompt.batch_size = 8
    if config.teacher.kind == "prompted":  # all questions are held out
        config.evaluation.soft_prompt.texts = ("corpus",)
    return config
