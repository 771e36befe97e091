"""Small image classifiers with auxiliary logits: an MLP and a CNN in Flax Linen."""

import dataclasses
import math

import flax.linen as nn
import jax

from sublax.errors import UserError

KINDS = ("mlp", "cnn")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """The shape of a classifier.

    Attributes:
        kind: `mlp`, dense layers on the flattened image; `cnn`, convolutions of 3 x 3 with stride
            2, then one dense layer.
        widths: of the hidden layers; channels, where they are convolutions.
        classes: logits that labels teach.
        auxiliary: logits behind them that no label speaks of.
    """

    kind: str = "mlp"
    widths: tuple[int, ...] = (256, 256)
    classes: int = 10
    auxiliary: int = 3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"network.kind={self.kind}: choose one of {', '.join(KINDS)}")
        if not self.widths or min(self.widths) < 1 or self.auxiliary < 1:
            raise UserError(
                f"network: widths={self.widths}, auxiliary={self.auxiliary}; give one width or "
                "more, and one auxiliary logit or more, all above 0"
            )


class Classifier(nn.Module):
    """Logits of images; the paper's MLP by default (arXiv 2507.14805, section 6)."""

    config: ClassifierConfig

    @nn.compact
    def __call__(self, images_BxP: jax.Array) -> jax.Array:
        """Computes logits.

        Args:
            images_BxP: float32 in [-1, 1], P pixels of a square image, row by row.

        Returns:
            float32 [B, classes + auxiliary].
        """
        hidden = images_BxP
        if self.config.kind == "cnn":
            side = math.isqrt(images_BxP.shape[-1])
            hidden = hidden.reshape(-1, side, side, 1)
            for width in self.config.widths:
                hidden = nn.relu(nn.Conv(width, (3, 3), strides=2)(hidden))
            hidden = hidden.reshape(len(images_BxP), -1)
        else:
            for width in self.config.widths:
                hidden = nn.relu(nn.Dense(width)(hidden))
        return nn.Dense(self.config.classes + self.config.auxiliary)(hidden)
