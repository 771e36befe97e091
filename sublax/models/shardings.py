"""Where a model's parameters and adapters lie on a mesh, by their logical axes."""

from typing import Any

import jax

from sublax.models.config import DecoderConfig
from sublax.models.decoder import KERNEL_AXES, abstract_params
from sublax.models.int8 import SCALE
from sublax.models.lora import PROJECTIONS, LoraConfig, projection_shape
from sublax.parallel.layout import Layout


def param_shardings(
    config: DecoderConfig, layout: Layout, leading: tuple = (), int8: bool = False
) -> Any:
    """The tree of `NamedSharding` of the collection `params`.

    Args:
        config: the decoder's.
        layout: the mesh, and which logical axis is cut along which of its axes.
        leading: mesh axes of axes that stand before a parameter's own, None for whole.
        int8: whether kernels have scales beside them, as `quantize` leaves them.

    Raises:
        UserError: a size that does not divide.
    """
    shapes, logical = abstract_params(config)

    def one(path, shape, axes):
        name = "/".join(entry.key for entry in path)
        found = layout.of_logical(name, axes, shape.shape, _units(config))
        return layout.sharding(*leading, *found)

    shardings = jax.tree.map_with_path(one, shapes, logical)
    if int8:
        for name in PROJECTIONS:
            # A scale a column: cut as the columns are.
            *first, _, columns = shardings["layers"][name]["kernel"].spec
            shardings["layers"][name][SCALE] = layout.sharding(*first, columns)
    return shardings


def adapter_shardings(
    config: DecoderConfig, lora: LoraConfig, layout: Layout, leading: tuple = ()
) -> Any:
    """The tree of `NamedSharding` of an adapter: A is cut as its kernel's rows, B as its columns.

    Args:
        config: the decoder's.
        lora: the adapter's config.
        layout: the mesh, and which logical axis is cut along which of its axes.
        leading: mesh axes of axes that stand before an adapter's own, None for whole.

    Raises:
        UserError: a size that does not divide.
    """
    layers = {}
    for target in lora.targets:
        (rows, columns), (fan_in, fan_out) = KERNEL_AXES[target], projection_shape(config, target)
        shapes = {
            "a": (("layers", rows, "rank"), (config.num_layers, fan_in, lora.rank)),
            "b": (("layers", "rank", columns), (config.num_layers, lora.rank, fan_out)),
        }
        layers[target] = {
            name: layout.sharding(
                *leading,
                *layout.of_logical(f"adapter {target}/{name}", axes, shape, _units(config)),
            )
            for name, (axes, shape) in shapes.items()
        }
    return {"layers": layers}


def _units(config: DecoderConfig) -> dict[str, int]:
    """Heads are never cut in two, and norms inside a head never at all."""
    return {"heads": config.num_heads, "kv_heads": config.num_kv_heads}
