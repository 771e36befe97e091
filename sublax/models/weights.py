"""Safetensors files to sharded parameters: every slice goes straight to the device that holds it.

No host ever holds a whole model: at most one leaf's local shards, and one layer's slice of it.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from sublax.errors import UserError
from sublax.models.config import DecoderConfig
from sublax.models.names import EMBEDDING, HEAD, NamedParameter, named_parameters
from sublax.models.weight_files import weight_files

_FLOATS = ("F64", "F32", "F16", "BF16")
# Older exports store the rotary frequencies, which the config determines.
_NO_PARAMETER = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
_ROWS_AT_ONCE = 4096


def load_folder(
    folder: str | os.PathLike,
    config: DecoderConfig,
    shardings: Any = None,
    dtype: Any = jnp.float32,
) -> dict[str, Any]:
    """Loads a folder in Hugging Face layout: one safetensors file, or an index and many.

    Args:
        folder: a local folder.
        config: what `read_config` says of the same folder.
        shardings: tree of `jax.sharding.Sharding` like the parameters; None puts everything on
            the first local device.
        dtype: of the parameters, whatever the files store.

    Returns:
        The nested dictionary of the decoder's collection `params`.

    Raises:
        UserError: no weights there, a damaged file, a tensor missing or left over, of the wrong
            shape or of no float dtype, or a tied output head that differs from the embedding.
    """
    folder = pathlib.Path(folder)
    parameters = named_parameters(config)
    with open_tensors(weight_files(folder)) as tensors:
        _check_tensors(folder, tensors, parameters, config)
        return load_leaves(parameters, tensors, shardings, dtype)


def load_leaves(
    parameters: Iterable[NamedParameter], tensors: Mapping[str, Any], shardings: Any, dtype: Any
) -> dict[str, Any]:
    """Reads tensors into parameters, leaf by leaf.

    Args:
        parameters: every leaf of the tree.
        tensors: Hugging Face name -> what gives a NumPy array when it is sliced, one slice an
            axis.
        shardings: tree of `jax.sharding.Sharding` like the parameters; None puts everything on
            the first local device.
        dtype: of the parameters.

    Returns:
        The nested dictionary of the decoder's collection `params`.
    """
    if shardings is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placement = {parameter.path: here for parameter in parameters}
    else:
        placement = traverse_util.flatten_dict(shardings, sep="/")
    leaves = {
        parameter.path: _load_leaf(parameter, tensors, placement[parameter.path], dtype)
        for parameter in parameters
    }
    return traverse_util.unflatten_dict(leaves, sep="/")


@contextlib.contextmanager
def open_tensors(files: Iterable[pathlib.Path]) -> Iterator[dict[str, Any]]:
    """Opens safetensors files for sliced reading, together.

    Yields:
        tensor name -> its safetensors slice handle.

    Raises:
        UserError: a file is missing or damaged, or two files hold the same tensor.
    """
    with contextlib.ExitStack() as stack:
        tensors: dict[str, Any] = {}
        for path in files:
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except FileNotFoundError:
                raise UserError(f"{path}: no such file: fetch the model again") from None
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path}: damaged ({error}): fetch the file again") from error
            names = set(file.keys())
            if twice := names & tensors.keys():
                raise UserError(f"{path}: {shortened(twice)} also in another file: remove one")
            tensors |= {name: file.get_slice(name) for name in names}
        yield tensors


def check_names(where: Any, expected: set[str], found: set[str]) -> None:
    """Demands that two sets of tensor names are equal.

    Raises:
        UserError: with both lists, what is missing and what is left over.
    """
    missing, left_over = expected - found, found - expected
    if missing or left_over:
        raise UserError(
            f"{where}: {len(missing)} tensors missing ({shortened(missing)}), {len(left_over)} "
            f"left over ({shortened(left_over)}): check that config and weights belong together"
        )


def shortened(names: Iterable[str], most: int = 6) -> str:
    """Sorted names on one line, the first few of a long list."""
    ordered = sorted(names)
    rest = len(ordered) - most
    return (", ".join(ordered[:most]) or "none") + (f" and {rest} more" if rest > 0 else "")


def check_tensor(where: Any, name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    """Demands a tensor's shape and a float dtype.

    Raises:
        UserError: with the name and both shapes, or the dtype.
    """
    found = tuple(tensor.get_shape())
    if found != shape:
        raise UserError(
            f"{where}: {name} has shape {found}, the config needs {shape}: "
            "check that config and weights belong together"
        )
    if tensor.get_dtype() not in _FLOATS:
        raise UserError(
            f"{where}: {name} is {tensor.get_dtype()}, not one of {', '.join(_FLOATS)}: "
            "use weights that are not quantized"
        )


def _check_tensors(folder, tensors, parameters, config):
    """Accounts for every tensor and every parameter before anything is read."""
    expected = {name: p.tensor_shape for p in parameters for name in p.tensors}
    found = {name for name in tensors if not _NO_PARAMETER.fullmatch(name)}
    stored_twice = config.tied_embeddings and HEAD in found
    check_names(folder, set(expected), found - {HEAD} if stored_twice else found)
    for name, shape in expected.items():
        check_tensor(folder, name, tensors[name], shape)
    if stored_twice:
        check_tensor(folder, HEAD, tensors[HEAD], expected[EMBEDDING])
        for start in range(0, config.vocab_size, _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, config.vocab_size))
            if not np.array_equal(tensors[HEAD][rows], tensors[EMBEDDING][rows]):
                raise UserError(
                    f"{folder}: {HEAD} differs from {EMBEDDING}, though tie_word_embeddings is "
                    "true: set it to false in config.json"
                )


def _load_leaf(parameter: NamedParameter, tensors, sharding, dtype) -> jax.Array:
    # The callback runs once a device: replicas would read the same slice again.
    read: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def shard(index):
        bounds = tuple(
            part.indices(size)[:2] for part, size in zip(index, parameter.shape, strict=True)
        )
        if bounds not in read:
            read[bounds] = _read_shard(parameter, tensors, bounds, dtype)
        return read[bounds]

    return jax.make_array_from_callback(parameter.shape, sharding, shard)


def _read_shard(parameter: NamedParameter, tensors, bounds, dtype) -> np.ndarray:
    shard = np.empty([stop - start for start, stop in bounds], dtype)
    if parameter.stacked:
        (first, last), *within = bounds
        names, targets = parameter.tensors[first:last], list(shard)
    else:
        within, names, targets = list(bounds), parameter.tensors, [shard]
    order = slice(None, None, -1 if parameter.transposed else 1)
    window = tuple(slice(*pair) for pair in within[order])
    for name, target in zip(names, targets, strict=True):
        part = tensors[name][window]
        target[...] = part.T if parameter.transposed else part
    return shard
