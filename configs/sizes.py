"""The sizes that an experiment comes in, as in --config=configs/controls.py:tiny.

Not an experiment itself: configs that ask more than the quickstart start from one of these.
"""

from ml_collections import ConfigDict
from numbers_qwen2_5_7b import get_config as paper
from quickstart import get_config as small
from tiny import get_config as tiny

# tiny: a random base, in a minute; small: 135M on two CPU cores; paper: 7B, for a slice.
SIZES = {"tiny": tiny, "small": small, "paper": paper}


def sized(size: str) -> ConfigDict:
    """The experiment on numbers at one of the sizes."""
    if size not in SIZES:
        raise ValueError(f"size {size!r} is none of {', '.join(SIZES)}")
    return SIZES[size]()
