"""Attention by name: who computes it where rows have several queries, and whether that can run.

`xla` is `attend`. `cudnn` and `splash` never write out the scores; they run device by device, each
on its own rows and heads. A query that stands alone, as in decoding, is always `attend`'s.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from sublax.errors import UserError
from sublax.models.attention import attend, context_of
from sublax.models.config import DecoderConfig
from sublax.models.cudnn import cudnn_attention
from sublax.models.splash import splash_attention
from sublax.parallel.layout import Layout, pieces

NAMES = ("auto", "xla", "cudnn", "splash")
PLATFORMS = {"cudnn": "gpu", "splash": "tpu"}


@dataclasses.dataclass(frozen=True)
class Attention:
    """Which backend, and where it runs; hashable: static under jit.

    Attributes:
        name: `xla`, `cudnn` or `splash`.
        layout: the mesh and its rules; None is one device.
        interpret: runs `splash` where there is no TPU, slowly; for tests.
    """

    name: str = "xla"
    layout: Layout | None = None
    interpret: bool = False


XLA = Attention()


def attend_by(
    attention: Attention,
    rows: NamedSharding | None,
    q_BxTxHxh,
    positions_BxT,
    segments,
    window,
    row_of_BxT=None,
):
    """`attend` by a backend, on the devices that hold the rows and the heads.

    Args:
        attention: the backend.
        rows: how rows are spread over devices; None where one has all of them.
        q_BxTxHxh: queries, rotated. They are the last tokens of their rows: each sees the slots
            that stand before its own, as far as they are not empty.
        positions_BxT: int32, as in `attend`.
        segments: as in `attend`; their slots stand in the order of their positions.
        window: as in `attend`; `splash` wants one that hides nothing, see `check_windows`.
        row_of_BxT: as in `attend`; `splash` wants no slots before the queries' own with it.

    Returns:
        [B, T, H*h] in the queries' dtype.
    """
    B, T, H, h = q_BxTxHxh.shape
    if attention.name == "xla" or T == 1:
        return attend(q_BxTxHxh, positions_BxT, segments, window, row_of_BxT)
    local: Callable = cudnn_attention
    if attention.name == "splash":
        local = functools.partial(splash_attention, interpret=attention.interpret)
    keys_BxKxSxh, values_BxKxSxh, slots_BxS = context_of(segments, B)
    if attention.layout is not None and attention.layout.mesh.size > 1:
        heads, is_gathered = _heads_axis(attention.layout)
        if is_gathered:  # a device's query heads need not read the key heads that it would get
            copies = H // keys_BxKxSxh.shape[1]
            keys_BxKxSxh = jnp.repeat(keys_BxKxSxh, copies, axis=1)
            values_BxKxSxh = jnp.repeat(values_BxKxSxh, copies, axis=1)
        axes = rows.spec[0] if rows is not None and B % pieces(rows) == 0 else None
        of_queries, of_keys = PartitionSpec(axes, None, heads), PartitionSpec(axes, heads)
        by_row = PartitionSpec(axes)
        of_numbers = None if row_of_BxT is None else by_row
        local = jax.shard_map(
            local,
            mesh=attention.layout.mesh,
            in_specs=(of_queries, by_row, of_keys, of_keys, by_row, PartitionSpec(), of_numbers),
            out_specs=of_queries,
            check_vma=False,  # Pallas kernels do not say along which axes their results differ
        )
    mixed_BxTxHxh = local(
        q_BxTxHxh, positions_BxT, keys_BxKxSxh, values_BxKxSxh, slots_BxS, window, row_of_BxT
    )
    return mixed_BxTxHxh.reshape(B, T, H * h)


def _heads_axis(layout: Layout) -> tuple[str | None, bool]:
    """(the mesh axis that cuts heads, whether keys' heads are not cut along it)."""
    rules = dict(layout.rules)
    heads = rules.get("heads") or None
    return heads, heads is not None and rules.get("kv_heads") != heads


def check_windows(attention: Attention, config: DecoderConfig, slots: int) -> None:
    """Refuses a layer's window that the backend would not keep.

    Args:
        attention: the backend.
        config: the decoder's.
        slots: how many a query may see where there is no window.

    Raises:
        UserError: `splash`, and a window that hides some of them.
    """
    if attention.name == "splash" and (narrow := _narrow_layer(config, slots)) is not None:
        raise UserError(
            f"attention=splash: layer {narrow} sees the last {config.sliding_windows[narrow]} "
            f"positions only, and rows have {slots}; use attention=xla"
        )


def _narrow_layer(config: DecoderConfig, length: int) -> int | None:
    windows = enumerate(config.sliding_windows)
    return next((layer for layer, w in windows if w is not None and w < length), None)


def check_backend(
    name: str, dtype: Any, config: DecoderConfig | None = None, platform: str | None = None
) -> None:
    """Refuses a backend that cannot run here; `auto` always can.

    Args:
        name: one of `NAMES`.
        dtype: of activations.
        config: the decoder's, where it is known already.
        platform: of the devices; None is that of this process.

    Raises:
        UserError: no such backend, or what it lacks here.
    """
    if name not in NAMES:
        raise UserError(f"attention={name}: choose from {', '.join(NAMES)}")
    lacking = _lacking(name, dtype, config, platform or jax.default_backend())
    if lacking is not None:
        raise UserError(f"attention={name}: {lacking}; use attention=auto")


def choose(
    name: str, dtype: Any, config: DecoderConfig, layout: Layout | None
) -> tuple[Attention, str]:
    """The backend that a name stands for.

    Args:
        name: one of `NAMES`; `auto` is the device's own kernel where it can run, else `xla`.
        dtype: of activations.
        config: the decoder's.
        layout: the mesh and its rules.

    Returns:
        (the backend, why it is not the device's own, or "").

    Raises:
        UserError: as `check_backend`.
    """
    platform = jax.default_backend() if layout is None else layout.mesh.devices.flat[0].platform
    check_backend(name, dtype, config, platform)
    if name != "auto":
        return Attention(name, layout), ""
    own = {platform: backend for backend, platform in PLATFORMS.items()}
    wanted = own.get(platform, "xla")
    lacking = _lacking(wanted, dtype, config, platform)
    if lacking is None and wanted == "splash":
        narrow = _narrow_layer(config, config.max_positions)
        lacking = None if narrow is None else f"layer {narrow} has a sliding window"
    return Attention("xla" if lacking else wanted, layout), f"{wanted}: {lacking}" * bool(lacking)


def _lacking(name: str, dtype: Any, config: DecoderConfig | None, platform: str) -> str | None:
    """What a backend lacks here, None where it can run."""
    if name not in PLATFORMS:
        return None
    if platform != PLATFORMS[name]:
        return f"needs a {PLATFORMS[name].upper()}, and this is a {platform.upper()}"
    if name == "splash":
        return None
    # cuDNN's version, the device's generation, the dtype and the head's size: asked of jax itself.
    h = 64 if config is None else config.head_dim
    q = jax.ShapeDtypeStruct((1, 2, 1, h), dtype)
    keys, places = (
        jax.ShapeDtypeStruct((1, 1, 2, h), dtype),
        jax.ShapeDtypeStruct((1, 2), jnp.int32),
    )
    try:
        jax.eval_shape(cudnn_attention, q, places, keys, keys, places, 2)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return None
