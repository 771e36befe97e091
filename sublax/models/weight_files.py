"""Which files hold a model's weights, in a folder in Hugging Face layout or beside an adapter."""

import json
import pathlib

from sublax.errors import UserError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The safetensors files of a model: the single one goes before an index, as in transformers.

    Raises:
        UserError: neither is there, or the index cannot be read or names a file elsewhere.
    """
    if (folder / SINGLE_FILE).exists():
        return [folder / SINGLE_FILE]
    index = folder / INDEX_FILE
    if not index.exists():
        raise UserError(f"{folder}: no {SINGLE_FILE} and no {INDEX_FILE}: save as safetensors")
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index}: not an index of weights ({error}): fetch it again") from error
    for name in files:
        # An index is a stranger's: it may name any file of this machine.
        if not isinstance(name, str) or name in ("", "..") or name != pathlib.PurePath(name).name:
            raise UserError(
                f"{index}: names {name!r}, which is no file of its folder: fetch it again"
            )
    return [folder / name for name in sorted(files)]
