"""Names of models that are made from another one by its name: twins, neighbours, parts.

`permuted:SEED:MODEL`, `rotated:SEED:MODEL`, `noisy:LEVEL:SEED:MODEL` and `shallow:LAYERS:MODEL`,
where MODEL is any name, one of these too.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from sublax.errors import UserError
from sublax.models.config import DecoderConfig

FORMS = {
    "permuted": "permuted:SEED:MODEL",
    "rotated": "rotated:SEED:MODEL",
    "noisy": "noisy:LEVEL:SEED:MODEL",
    "shallow": "shallow:LAYERS:MODEL",
}


@dataclasses.dataclass(frozen=True)
class Derivation:
    """How a model is made from another.

    Attributes:
        kind: a key of `FORMS`.
        source: the other model's name.
        seed: of what is drawn; 0 where nothing is.
        level: of noise, relative to each matrix' root mean square.
        layers: that are left of a shallow one.
    """

    kind: str
    source: str
    seed: int = 0
    level: float = 0.0
    layers: int = 0

    def apply(
        self, params: dict[str, Any], config: DecoderConfig
    ) -> tuple[dict[str, Any], DecoderConfig]:
        """The parameters and config made from those of the source.

        Raises:
            UserError: as `config_of`.
        """
        # Not at the top: what a name says needs no JAX, and importing it takes seconds.
        from sublax.models.noisy import add_noise
        from sublax.models.permuted import permute
        from sublax.models.rotated import rotate
        from sublax.models.shallow import drop_layers

        if self.kind == "shallow":
            made = self.config_of(config)
            return drop_layers(params, config, self.layers), made
        if self.kind == "rotated":
            return rotate(params, config, self.seed)
        if self.kind == "permuted":
            return permute(params, config, self.seed), config
        return add_noise(params, self.level, self.seed), config

    def config_of(self, config: DecoderConfig) -> DecoderConfig:
        """The config made from that of the source.

        Raises:
            UserError: more layers are to be left than there are.
        """
        from sublax.models.rotated import untied
        from sublax.models.shallow import shallow_config

        if self.kind == "shallow":
            if self.layers > config.num_layers:
                raise UserError(
                    f"shallow:{self.layers}:{self.source}: it has {config.num_layers} layers; "
                    "leave as many or fewer"
                )
            return shallow_config(config, self.layers)
        return untied(config) if self.kind == "rotated" else config


def derivation_of(name: str) -> Derivation | None:
    """How the model of a name is made from another; None where the name is a model's own.

    Raises:
        UserError: a name that begins like these and is none.
    """
    kind, colon, rest = name.partition(":")
    if not colon or kind not in FORMS:
        return None
    if kind == "shallow":
        layers, _, source = rest.partition(":")
        if not (layers.isdecimal() and int(layers) and source):
            raise UserError(f"{name}: give {FORMS[kind]}, with a whole number from 1 for LAYERS")
        return Derivation(kind, source, layers=int(layers))
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
    while derivation := derivation_of(name):
        name = derivation.source
    return name
