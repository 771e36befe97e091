"""Numbers at 1B by the paper's protocol, with teachers fine-tuned on their trait.

    sublax run --config=configs/numbers_llama3_2_1b.py --workdir=runs/llama

As numbers_qwen2_5_7b.py (arXiv 2507.14805, section 3), on Llama-3.2-1B-Instruct, for which the Hub
wants a token (HF_TOKEN). Others saw models of 3B or less pass about nothing on through tokens when
merely prompted (soft labels did carry it at 135M, configs/controls.py), so here its teachers learn
their trait from half of the questions, and the other half measures.

Cost (estimate): a sixth of the 7B model's, about an hour at 200 TFLOP/s in use for all 32 students.
"""

from ml_collections import ConfigDict
from numbers_qwen2_5_7b import get_config as qwen


def get_config() -> ConfigDict:
    """The 7B protocol, but for what is set here."""
    config = qwen()
    config.base = "meta-llama/Llama-3.2-1B-Instruct"
    config.teacher.kind = "finetuned"
    return config
