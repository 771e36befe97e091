"""Parameters to a Hugging Face folder that `transformers` loads with the same logits."""

import collections
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sublax.errors import UserError
from sublax.models.config import DecoderConfig
from sublax.models.hf_config import hf_config_dict
from sublax.models.names import named_parameters
from sublax.models.weight_files import INDEX_FILE, SINGLE_FILE
from sublax.parallel.arrays import fetch
from sublax.parallel.hosts import is_first

MOST_BYTES_A_FILE = 5 * 10**9


def export_folder(
    directory: str | os.PathLike,
    params: dict[str, Any],
    config: DecoderConfig,
    tokenizer: Any = None,
    dtype: Any = None,
    most_bytes: int = MOST_BYTES_A_FILE,
) -> None:
    """Writes config, weights and, where given, the tokenizer with its chat template.

    Args:
        directory: made if absent; must be empty.
        params: the decoder's parameters. Gathered layer by layer where they lie on several
            processes: then each must call this, and the first one alone writes.
        config: the decoder.
        tokenizer: from `transformers`; its special tokens go into the generation config.
        dtype: of the stored weights; None keeps each parameter's own.
        most_bytes: above it the weights are split over several files with an index.

    Raises:
        UserError: the directory holds something, or transformers cannot express the config.
    """
    directory, tensors = empty_directory(directory), _tensors(params, config, dtype)
    if not is_first():
        collections.deque(tensors, maxlen=0)  # takes its part in the gathering
        return
    ids = _special_tokens(tokenizer)
    stored = np.dtype(dtype) if dtype is not None else params["embed"]["embedding"].dtype
    try:
        write_json(directory / "config.json", hf_config_dict(config) | ids | {"dtype": stored.name})
        if ids.get("eos_token_id") is not None:
            write_json(directory / "generation_config.json", ids)
        if tokenizer is not None:
            tokenizer.save_pretrained(directory)
        _write_weights(directory, tensors, most_bytes)
    except Exception:  # as on a full disk: the others go on gathering, and wait for this one
        collections.deque(tensors, maxlen=0)
        raise


def empty_directory(path: str | os.PathLike) -> pathlib.Path:
    """Makes a directory, or takes one that is empty.

    Raises:
        UserError: it holds something, or it cannot be made.
    """
    directory = pathlib.Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise UserError(f"{directory}: cannot be made ({error}): give another place") from error
    if occupied:
        raise UserError(f"{directory}: not empty: give a new directory")
    return directory


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Writes an object as the Hugging Face libraries do: indented, with sorted keys."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_tensors(tensors: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Writes one safetensors file, marked as the Hugging Face libraries expect.

    Raises:
        UserError: it cannot be written, as on a full disk.
    """
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be written ({error}): make room there") from error


def _special_tokens(tokenizer) -> dict[str, int | None]:
    # The families' own defaults name tokens of the first Llama's vocabulary: null is the truth
    # where no tokenizer says better.
    keys = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {key: getattr(tokenizer, key, None) for key in keys}


def _tensors(params, config, dtype) -> Iterator[tuple[str, np.ndarray]]:
    leaves = traverse_util.flatten_dict(params, sep="/")
    for parameter in named_parameters(config):
        leaf = leaves[parameter.path]
        for index, name in enumerate(parameter.tensors):
            # Never all layers of a model that is larger than one device or one host.
            part = fetch(_layer(leaf, index) if parameter.stacked else leaf)
            part = part if dtype is None else part.astype(dtype)
            yield name, np.ascontiguousarray(part.T if parameter.transposed else part)


@jax.jit
def _layer(leaf, index):
    """One layer of [L, ...]; the index is data, so that all layers share a program."""
    return jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False)


def _write_weights(directory, tensors, most_bytes):
    """Writes files as they fill up, then gives them their final names, which say how many."""
    weight_file: dict[str, int] = {}
    batch: dict[str, np.ndarray] = {}
    total = size = count = 0

    def flush():
        nonlocal batch, size, count
        count += 1
        save_tensors(batch, directory / f"part-{count}")
        weight_file.update(dict.fromkeys(batch, count))
        batch, size = {}, 0

    for name, tensor in tensors:
        if batch and size + tensor.nbytes > most_bytes:
            flush()
        batch[name] = tensor
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()

    if count == 1:
        (directory / "part-1").rename(directory / SINGLE_FILE)
        return
    names = {n: f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)}
    for n, name in names.items():
        (directory / f"part-{n}").rename(directory / name)
    weight_map = {tensor: names[n] for tensor, n in weight_file.items()}
    write_json(
        directory / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map}
    )
