"""The shape of a base, without its weights."""

import functools
import json
import pathlib
from importlib import resources
from typing import Any

import huggingface_hub
from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.models import gguf
from sublax.models.config import DecoderConfig
from sublax.models.gguf_file import open_gguf
from sublax.models.hf_config import decoder_config, read_config
from sublax.settings import plain

# Of a random base: its tokenizer is made from the corpus' own words.
RANDOM_VOCABULARY = 1024


def base_shape(config: ConfigDict) -> DecoderConfig:
    """The decoder that a run's base is: of a folder, a `.gguf` file, a Hub id, or a random one.

    Of some well-known models the shape is known without the Hub.

    Raises:
        UserError: nothing of that name.
    """
    name = config.base
    if name.startswith("random:"):
        shape = plain(config.random_base.shape) | {"vocab_size": RANDOM_VOCABULARY}
        return decoder_config(shape, "random_base.shape")
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
        return read_config(path)
    if path.suffix == ".gguf":
        return gguf.decoder_config(open_gguf(path))
    if name in _known():
        return decoder_config(_known()[name], name)
    try:
        file = pathlib.Path(huggingface_hub.hf_hub_download(name, "config.json"))
    except Exception as error:  # its HTTP library's own errors come through, of a changing module
        raise UserError(
            f"base={name}: no such folder, and its config.json is not to be had from the Hub; give "
            f"a folder that holds one, or one of {', '.join(_known())}"
        ) from error
    return read_config(file.parent)


@functools.cache
def _known() -> dict[str, Any]:
    return json.loads(resources.files("sublax.planning").joinpath("shapes.json").read_text("utf-8"))
