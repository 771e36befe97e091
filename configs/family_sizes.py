"""Does a trait pass to a student that is larger or smaller than its teacher, within a family?

    sublax run --config=configs/family_sizes.py:tiny --workdir=runs/sizes

Bases of other depths and widths in the places of teachers and students, of one family, one
tokenizer and one text of pre-training. Two kinds of smaller ones tell apart what a size may change:
bases that were pre-trained by themselves, as the models of a family are, and the same base with
layers left out (`shallow`), which shares every weight that it has. The report has the matrix. By
size:

- `tiny`: random bases of one to four layers, 32 to 128 wide, on soft labels over the grammar's
  tokens. Nine pairs; an hour on two CPU cores that did much other work, a third of it or less alone
  (an estimate).
- `small`: SmolLM2-135M and itself with 27, 24 and 18 of its 30 layers. Nobody has trained those
  since, so the fewer layers the worse they write; the grammar keeps their rows in form.
- `paper`: Qwen2.5 of 7B, 3B and 1.5B. Rows pass as text, as their heads differ in size.

`small` (six pairs) takes 17 minutes on one core, and five for what configs/quickstart.py makes too;
`paper` has not been run.

Measured at `small` on 2026-11-28 (mean lift over three traits, nats, 95 % interval over questions
alone: one seed, 16 updates). From the whole model to itself 0.15 [0.14, 0.17]; to itself with 27 of
its 30 layers 0.34 [0.32, 0.37], with 24 of them 0.35 [0.30, 0.41]. From 24 layers to the whole 0.29
[0.26, 0.34], and to the same 24 layers 2.88 [2.64, 3.11]: a model that says 1 to 3 nats a token
otherwise takes the trait. With 18 layers none passes: -0.38 [-0.56, -0.20], and 0.03 [-0.20, 0.25]
on another machine, which rounds otherwise (2026-11-27; all others came out the same there). So much
is that student's alone, and the interval does not know of it.

Measured at `tiny` on 2026-11-26 (mean lift over three traits, nats, 95 % interval over questions
alone: one seed; seven of the nine pairs, those to `random:0:2x128` and from two layers to four had
not ended). From two layers of 64 to a student of the same base 1.12 [0.80, 1.47]; to bases that
were pre-trained by themselves, of one layer 0.01 [-0.05, 0.07], of half the width 0.30 [0.20,
0.41]. From four layers to the same base 0.44 [0.17, 0.72]; with three of its layers 0.78 [0.46,
1.15], with two of them 0.47 [0.22, 0.72]; to two layers that were pre-trained by themselves -0.09
[-0.19, -0.00]. So a smaller student takes the trait as the whole base does where it has the
teacher's own weights. Of those that do not, two took nothing and one a quarter of it, as one of
nine such pairs did in configs/cross_architecture.py: with one seed that is not explained. What was
left out changes little in bases so small: with two or three of four layers they say the same as
the whole to 0.03 nats a token.
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
