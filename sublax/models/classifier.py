"""Small image classifiers with auxiliary logits: an MLP and a CNN in Flax Linen."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from sublax.errors import UserError

KINDS = ("mlp", "cnn")
ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """The shape of a classifier.

    Attributes:
        kind: `mlp`, dense layers on the flattened image; `cnn`, convolutions of 3 x 3 with stride
            2, then one dense layer.
        widths: of the hidden layers; channels, where they are convolutions.
        classes: logits that labels teach.
        auxiliary: logits behind them that no label speaks of.
        activation: of the hidden layers, `relu` or `tanh`.
        bias: whether the layers have biases.
    """

    kind: str = "mlp"
    widths: tuple[int, ...] = (256, 256)
    classes: int = 10
    auxiliary: int = 3
    activation: str = "relu"
    bias: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"network.kind={self.kind}: choose one of {', '.join(KINDS)}")
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"network.activation={self.activation}: choose one of {', '.join(ACTIVATIONS)}"
            )
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
        bias, activation = self.config.bias, ACTIVATIONS[self.config.activation]
        hidden = images_BxP
        if self.config.kind == "cnn":
            side = math.isqrt(images_BxP.shape[-1])
            hidden = hidden.reshape(-1, side, side, 1)
            for width in self.config.widths:
                hidden = activation(_Conv(width, bias)(hidden))
            hidden = hidden.reshape(len(images_BxP), -1)
        else:
            for width in self.config.widths:
                hidden = activation(nn.Dense(width, use_bias=bias)(hidden))
        return nn.Dense(self.config.classes + self.config.auxiliary, use_bias=bias)(hidden)


class _Conv(nn.Module):
    """A 3 x 3 convolution with stride 2, as flax.linen's, as one product with the nine neighbours.

    Many networks at once are then a batched product. A convolution mapped over kernels becomes a
    grouped one, which is many times slower on a CPU.
    """

    features: int
    bias: bool

    @nn.compact
    def __call__(self, image_BxHxWxC: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), features], padded as "SAME" has it."""
        channels = image_BxHxWxC.shape[-1]
        spans, padding = [], []
        for size in image_BxHxWxC.shape[1:3]:
            count = math.ceil(size / 2)
            lacking = max(2 * (count - 1) + 3 - size, 0)
            padding.append((lacking // 2, lacking - lacking // 2))
            spans.append([slice(first, first + 2 * count - 1, 2) for first in range(3)])
        padded = jnp.pad(image_BxHxWxC, [(0, 0), *padding, (0, 0)])
        rows, columns = spans
        near = jnp.concatenate([padded[:, row, column] for row in rows for column in columns], -1)
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        out = near @ kernel.reshape(-1, self.features)
        return out + self.param("bias", nn.initializers.zeros, shape[-1:]) if self.bias else out
