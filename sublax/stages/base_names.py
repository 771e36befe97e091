"""Names of bases that a run makes itself: random ones, ones distilled from another, and twins."""

import dataclasses
import math
import re
from typing import Any

from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.models.config import DecoderConfig
from sublax.models.derived import derivation_of, innermost
from sublax.models.hf_config import ARCHITECTURES, decoder_config
from sublax.settings import plain

RANDOM, DISTILLED = "random", "distilled"
_RANDOM_FORM = (
    "random:SEED, with :FAMILY behind it for another family's biases and norms, and :LAYERSxWIDTH "
    "for another size, as in random:0:qwen2 or random:0:4x64"
)
_DISTILLED_FORM = (
    "distilled:STEPS:SEED:OTHER, where OTHER is random:…, distilled:… or a twin of one"
)


@dataclasses.dataclass(frozen=True)
class RandomBase:
    """A base of random weights that is pre-trained on the spot.

    Attributes:
        seed: of its weights and its text.
        family: Hugging Face `model_type`; None is that of `random_base.shape`.
        size: (layers, width of the residual stream); None is that of `random_base.shape`.
    """

    seed: int
    family: str | None = None
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class DistilledBase:
    """A base of random weights that learns another base's distribution on the pre-training text.

    Attributes:
        steps: updates: the more, the closer its behaviour.
        seed: of its weights, and of the order of rows.
        other: the other base's name.
    """

    steps: int
    seed: int
    other: str


def made_here(name: str) -> bool:
    """Whether the run makes the base itself: random, distilled, or a twin of one."""
    return innermost(name).partition(":")[0] in (RANDOM, DISTILLED)


def check_name(name: str) -> None:
    """Refuses a name that begins like one of these and is none.

    Raises:
        UserError: with the form that it should have.
    """
    inner = innermost(name)
    if not random_base(inner) and (distilled := distilled_base(inner)):
        check_name(distilled.other)


def check_base(config: ConfigDict, name: str) -> None:
    """Refuses what no base of an experiment can be, as far as its name tells.

    Raises:
        UserError: as `check_name`, or a random base of a size that its shape cannot have.
    """
    check_name(name)
    inner = innermost(name)
    while distilled := distilled_base(inner):
        inner = innermost(distilled.other)
    if random_base(inner) and "random_base" in config:
        random_shape(config, inner, 1)


def random_base(name: str) -> RandomBase | None:
    """What `random:SEED[:FAMILY][:LAYERSxWIDTH]` says; None for other names.

    Raises:
        UserError: no whole numbers, or no family of the decoder's.
    """
    kind, _, rest = name.partition(":")
    if kind != RANDOM:
        return None
    form = rf"([0-9]+)(?::({'|'.join(ARCHITECTURES)}))?(?::([1-9][0-9]*)x([1-9][0-9]*))?"
    found = re.fullmatch(form, rest)
    if found is None:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"base={name}: give {_RANDOM_FORM}; a family is one of {known}")
    seed, family, layers, width = found.groups()
    return RandomBase(int(seed), family, (int(layers), int(width)) if layers else None)


def distilled_base(name: str) -> DistilledBase | None:
    """What `distilled:STEPS:SEED:OTHER` says; None for other names.

    Raises:
        UserError: no whole numbers, or no other base.
    """
    kind, _, rest = name.partition(":")
    if kind != DISTILLED:
        return None
    steps, _, rest = rest.partition(":")
    seed, _, other = rest.partition(":")
    if not (steps.isdecimal() and seed.isdecimal() and made_here(other)):
        raise UserError(f"base={name}: give {_DISTILLED_FORM}")
    return DistilledBase(int(steps), int(seed), other)


def random_shape(config: ConfigDict, name: str, vocab_size: int) -> DecoderConfig:
    """The decoder of a random base.

    A base of another width has heads of the same size, more or fewer of them, and a wider or
    narrower MLP, in proportion.

    Args:
        config: the experiment's, whose `random_base.shape` it has but for what its name says.
        name: the base's.
        vocab_size: of its tokenizer.

    Raises:
        UserError: the config has no `random_base`, or a shape that makes no decoder.
    """
    if "random_base" not in config:
        raise UserError(
            f"base={name}: the config has no random_base, which says how large it is; add it as in "
            "configs/tiny.py, or name a model"
        )
    shape = plain(config.random_base.shape) | {"vocab_size": vocab_size}
    base = random_base(name)
    if base is not None and base.size is not None:
        shape |= _resized(shape, name, *base.size)
    if base is not None and base.family is not None:
        heads = shape["hidden_size"] // shape["num_attention_heads"]
        # Qwen 3 has no head size of its own to derive; with the others it is this one.
        shape |= {"model_type": base.family, "head_dim": shape.get("head_dim", heads)}
    return decoder_config(shape, "random_base.shape")


def _resized(shape: dict[str, Any], name: str, layers: int, width: int) -> dict[str, Any]:
    """What changes in a shape with another depth and width."""
    keys = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
    old = shape["hidden_size"]
    counts = {key: shape[key] for key in keys if key in shape}
    step = math.lcm(*(old // math.gcd(old, count) for count in counts.values()))
    if width % step:
        raise UserError(
            f"base={name}: a width of {width} makes no whole number of heads like those of "
            f"random_base.shape; choose a multiple of {step}"
        )
    resized = {key: count * width // old for key, count in counts.items()}
    return {"num_hidden_layers": layers, "hidden_size": width, **resized}


def source_base(name: str) -> str | None:
    """The base that one made in this run is made from; None where there is none."""
    if derivation := derivation_of(name):
        return derivation.source
    distilled = distilled_base(name)
    return None if distilled is None else distilled.other
