"""A model with some of its layers left out: smaller, and in every other weight the same."""

import dataclasses
from typing import Any

import jax
import numpy as np

from sublax.models.config import DecoderConfig


def kept_layers(layers: int, count: int) -> tuple[int, ...]:
    """Which of `layers` layers stay where `count` do: evenly spread, the first and last among them.

    A single one is the first.
    """
    return tuple(np.linspace(0, layers - 1, count).round().astype(int).tolist())


def drop_layers(params: dict[str, Any], config: DecoderConfig, count: int) -> dict[str, Any]:
    """The parameters of `kept_layers` alone, with all that is no layer's.

    Args:
        params: the decoder's parameters.
        config: the decoder.
        count: layers that stay, from 1 to as many as there are.

    Returns:
        A tree like `params`, its stacked leaves shorter, each where it lay.
    """
    kept = np.asarray(kept_layers(config.num_layers, count))
    layers = params["layers"]
    shardings = jax.tree.map(lambda leaf: leaf.sharding, layers)
    take = jax.jit(
        lambda tree: jax.tree.map(lambda leaf: leaf[kept], tree), out_shardings=shardings
    )
    return params | {"layers": take(layers)}


def shallow_config(config: DecoderConfig, count: int) -> DecoderConfig:
    """The config of what `drop_layers` gives: each layer keeps its own window."""
    kept = kept_layers(config.num_layers, count)
    windows = tuple(config.sliding_windows[layer] for layer in kept)
    return dataclasses.replace(config, num_layers=count, sliding_windows=windows)
