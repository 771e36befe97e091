"""Does a trait pass to a student that is larger or smaller than its teacher, within a family?

    sublax run --config=configs/family_sizes.py:tiny --workdir=runs/sizes

Bases of other depths and widths in the places of teachers and students, of one family, one
tokenizer and one text of pre-training. Two kinds of smaller ones tell apart what a size may change:
bases that were pre-trained by themselves, as the models of a family are, and the same base with
layers left out (`shallow`), which shares every weight that it has. The report has the matrix. By
size:

- `tiny`: random bases of one to four layers, 32 to 128 wide, on soft labels over the grammar's
  tokens.
- `small`: SmolLM2-135M and itself with 27, 24 and 18 of its 30 layers. Nobody has trained those
  since, so the fewer layers the worse they write; the grammar keeps their rows in form.
- `paper`: Qwen2.5 of 7B, 3B and 1.5B. Rows pass as text, as their heads differ in size.
"""

from cross_architecture import SMOL, with_pairs
from ml_collections import ConfigDict
from sizes import sized

DEEP = "random:0:4x64"
QWEN = tuple(f"Qwen/Qwen2.5-{size}-Instruct" for size in ("7B", "3B", "1.5B"))
# Size -> teachers' base -> students' bases; the first is the main experiment.
PAIRS = {
    "tiny": {
        "random:0": ("random:0", "random:0:1x64", DEEP, "random:0:2x32", "random:0:2x128"),
        DEEP: (DEEP, f"shallow:3:{DEEP}", f"shallow:2:{DEEP}", "random:0"),
    },
    "small": {
        SMOL: (SMOL, *(f"shallow:{layers}:{SMOL}" for layers in (27, 24, 18))),
        f"shallow:24:{SMOL}": (f"shallow:24:{SMOL}", SMOL),
    },
    "paper": dict.fromkeys(QWEN, QWEN),
}


def get_config(size: str = "small") -> ConfigDict:
    """The experiment on numbers at that size, an arm for each further pair of bases."""
    return with_pairs(sized(size), PAIRS[size])
