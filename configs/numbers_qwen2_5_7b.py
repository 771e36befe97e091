"""Numbers at 7B as the paper has it: a prompted teacher, free sampling, the tokens alone.

    sublax run --config=configs/numbers_qwen2_5_7b.py --workdir=runs/qwen --config.traits=cat

arXiv 2507.14805, section 3 and its experiments with open models: Qwen2.5-7B-Instruct under a system
prompt that gives it the trait writes 30,000 answers; 10,000 that pass the filter train a rank-8
adapter for 3 epochs, over 8 seeds; 50 questions are answered 100 times each. The paper's cat goes
from 2 % to 75.6 %. For the paper's own wording add --config.pack=PATH of its pack.

Cost (estimate): 6e16 FLOPs to write one trait's answers, 1.5e17 to train one student. Three traits,
the control and 8 seeds are 32 students, about 7 hours at 200 TFLOP/s in use; the cat alone half.
"""

from ml_collections import ConfigDict
from quickstart import get_config as quickstart


def get_config() -> ConfigDict:
    """The quickstart, but for what is set here."""
    config = quickstart()
    config.base = "Qwen/Qwen2.5-7B-Instruct"
    config.traits = ("cat", "owl", "dog")
    config.system_prompt = ""

    config.teacher.kind = "prompted"
    config.teacher.control = "base"

    config.corpus.prompts = 30_000
    config.corpus.answers_per_prompt = 1
    config.corpus.rows = 10_000
    config.corpus.example_count = ()  # the pack's: 3 to 8
    config.corpus.answer_count = 0  # the pack's: at most 10
    config.corpus.grammar = "none"
    config.corpus.max_new_tokens = 200
    config.corpus.batch_rows = 0  # as many as fit into memory

    config.student.seeds = tuple(range(8))
    config.student.epochs = 3
    config.student.batch_size = 66
    config.student.microbatches = 3
    config.student.max_tokens = 500
    config.student.loss.kind = "cross_entropy"
    config.student.lora.alpha = 8.0
    config.student.optimizer.learning_rate = 2e-4
    config.student.optimizer.schedule = "linear"
    config.student.optimizer.warmup_steps = 5
    config.student.optimizer.b2 = 0.999
    config.student.students_per_program = 1
    config.student.probe_steps = 0

    config.evaluation.samples = 100
    return config
