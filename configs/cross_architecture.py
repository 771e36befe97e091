"""Which bases pass a trait on to which: teachers' bases x students' bases.

    sublax run --config=configs/cross_architecture.py:tiny --workdir=runs/bases

Section 4 of arXiv 2507.14805 finds transfer where teacher and student share a base, or are "matched
in behaviour". What of these it is, weights or behaviour, the twins of a base tell apart:

- `permuted`: its units in another order. Other weights in every place, the same behaviour, and
  training goes the same way, so its transfer is the base's own: a check of the whole path.
- `rotated`: its residual stream in another basis, the same behaviour. Adam treats each channel
  for itself, so training goes another way.
- `noisy`: near in weights; the more noise, the further in both.
- `distilled`: of another start, the nearer in behaviour the more updates, and far in weights.

Each pair is an arm, which shares its teachers and corpora with the others of its teachers' base.
The report has the matrix, and transfer against both distances. By size:

- `tiny`: small random bases of one tokenizer, Llama- and Qwen-shaped (biases on q, k and v; norms
  on q and k), on soft labels over the grammar's tokens. 36 minutes on two CPU cores
  that were busy with other work beside it.
- `seeds`: the same, three Llama- and three Qwen-shaped bases by the seed, every pair of them: 36
  cells, an hour or more.
- `small`: SmolLM2-135M and what is made of it, on soft labels over the grammar's tokens: at 135M
  bare rows under cross-entropy carry little. Students are adapters, whose random starts are not
  permuted with the base, so here the permuted twin's transfer is alike and not the same.
- `paper`: 7B models of three families. Their tokenizers differ, so rows pass as text.

Measured at `tiny` on 2026-11-26 (mean lift over three traits, nats, 95 % interval over questions
alone: one seed). Students of the teachers' own base 1.12 [0.80, 1.47], 2.22 and 1.78; the permuted
twin's the same to 0.0002 in every shift; the rotated twin's 0.80 [0.60, 1.03] (its head is untied
and trained apart, too); with noise of 0.1, 0.3 and 1.0: 1.00, 0.11, -0.29. Distilled from another
start the lifts are -0.08, -0.31 and -0.22, though at 1,200 updates the two say the same to 0.011
nats a token on numbers and 0.0003 on questions: here matched behaviour does not suffice. Nine other
pairs of bases gave from -0.10 to 0.20, and one, to `random:0:qwen3`, 0.40 [0.31, 0.50].

Measured at `small` on 2026-11-28 (the same, 16 updates; 32 minutes on one core, and five for what
configs/quickstart.py makes too). The base itself 0.15 [0.14, 0.17]; its permuted twin 0.14 [0.12,
0.15]; with noise of 0.03, 0.1 and 0.3: 0.17, 0.15 and 0.59 [0.44, 0.73], the last nearly all of it
the lion's. The rotated twin says the same and takes no trait: -0.14 [-0.19, -0.09]; from it to the
base -0.06 [-0.16, 0.04], and to itself -0.25 [-0.29, -0.21], where two of three traits fell. At
135M the recipe itself does not survive the rotation: under Adam the owl's teacher is at a loss of
0.05 after four updates there, where the base's is at 0.96 after ten.
"""

import re

from ml_collections import ConfigDict
from sizes import sized

TINY = ("random:0", "random:1", "random:0:qwen2")
SEEDS = tuple(f"random:{seed}{family}" for family in ("", ":qwen2") for seed in (0, 1, 2))
SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PAPER = (
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
)
# Size -> teachers' base -> students' bases; the first is the main experiment.
PAIRS = {
    "tiny": {
        "random:0": (
            *TINY,
            "random:2",
            "random:0:qwen3",
            "permuted:1:random:0",
            "rotated:1:random:0",
            *(f"noisy:{level}:1:random:0" for level in (0.1, 0.3, 1.0)),
            *(f"distilled:{steps}:1:random:0" for steps in (100, 300, 1200)),
        ),
        "random:1": (*TINY, "permuted:1:random:0"),
        "random:0:qwen2": (*TINY, "permuted:1:random:0"),
    },
    "small": {
        SMOL: (
            SMOL,
            f"permuted:1:{SMOL}",
            f"rotated:1:{SMOL}",
            *(f"noisy:{level}:1:{SMOL}" for level in (0.03, 0.1, 0.3)),
        ),
        f"rotated:1:{SMOL}": (SMOL, f"rotated:1:{SMOL}"),
    },
    "seeds": dict.fromkeys(SEEDS, SEEDS),
    "paper": dict.fromkeys(PAPER, PAPER),
}


def get_config(size: str = "small") -> ConfigDict:
    """The experiment on numbers at that size, an arm for each further pair of bases."""
    if size not in PAIRS:
        raise ValueError(f"size {size!r} is none of {', '.join(PAIRS)}")
    return with_pairs(sized("tiny" if size == "seeds" else size), PAIRS[size])


def with_pairs(config: ConfigDict, pairs: dict[str, tuple[str, ...]]) -> ConfigDict:
    """The experiment over pairs of bases.

    Args:
        config: the experiment on one; changed.
        pairs: teachers' base -> students' bases; the first is the main experiment.
    """
    (config.base, *_) = pairs
    every = [(teacher, student) for teacher, students in pairs.items() for student in students]
    for teacher, student in every:
        overrides = [f"base={teacher}"] if teacher != config.base else []
        overrides += [f"student.base={student}"] if student != teacher else []
        if overrides:
            config.arms[_name(teacher, student)] = tuple(overrides)
    return config


def _name(teacher: str, student: str) -> str:
    """An arm's name, which is a folder's too."""
    return "--to--".join(re.sub(r"[^A-Za-z0-9]+", "-", base) for base in (teacher, student))
