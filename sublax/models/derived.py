"""Names of models that are made from another one by its name: twins and neighbours.

`permuted:SEED:MODEL`, `rotated:SEED:MODEL` and `noisy:LEVEL:SEED:MODEL`, where MODEL is any name,
one of these too.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from sublax.errors import UserError
from sublax.models.config import DecoderConfig
from sublax.models.noisy import add_noise
from sublax.models.permuted import permute
from sublax.models.rotated import rotate, untied

FORMS = {
    "permuted": "permuted:SEED:MODEL",
    "rotated": "rotated:SEED:MODEL",
    "noisy": "noisy:LEVEL:SEED:MODEL",
}


@dataclasses.dataclass(frozen=True)
class Derivation:
    """How a model is made from another.

    Attributes:
        kind: a key of `FORMS`.
        source: the other model's name.
        seed: of what is drawn.
        level: of noise, relative to each matrix' root mean square.
    """

    kind: str
    source: str
    seed: int
    level: float = 0.0

    def apply(
        self, params: dict[str, Any], config: DecoderConfig
    ) -> tuple[dict[str, Any], DecoderConfig]:
        """The parameters and config made from those of the source."""
        if self.kind == "rotated":
            return rotate(params, config, self.seed)
        if self.kind == "permuted":
            return permute(params, config, self.seed), config
        return add_noise(params, self.level, self.seed), config

    def config_of(self, config: DecoderConfig) -> DecoderConfig:
        """The config made from that of the source."""
        return untied(config) if self.kind == "rotated" else config


def derivation_of(name: str) -> Derivation | None:
    """How the model of a name is made from another; None where the name is a model's own.

    Raises:
        UserError: a name that begins like these and is none.
    """
    kind, colon, rest = name.partition(":")
    if not colon or kind not in FORMS:
        return None
    level, _, rest = rest.partition(":") if kind == "noisy" else ("0", "", rest)
    seed, _, source = rest.partition(":")
    try:
        strength = float(level)
    except ValueError:
        strength = math.nan
    if not (seed.isdecimal() and source and strength >= 0 and math.isfinite(strength)):
        raise UserError(f"{name}: give {FORMS[kind]}, with a whole number for SEED")
    return Derivation(kind, source, int(seed), strength)


def with_source(name: str, change: Callable[[str], str]) -> str:
    """A name whose innermost model, that which is derived from no other, is called otherwise."""
    derivation = derivation_of(name)
    if derivation is None:
        return change(name)
    return name.removesuffix(derivation.source) + with_source(derivation.source, change)


def innermost(name: str) -> str:
    """The name of the model that all else in a name is derived from."""
    derivation = derivation_of(name)
    return name if derivation is None else innermost(derivation.source)
