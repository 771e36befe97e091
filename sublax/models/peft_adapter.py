"""Low-rank adapters to and from the files of `peft`."""

import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from sublax.errors import UserError
from sublax.models.config import DecoderConfig
from sublax.models.export import empty_directory, save_tensors, write_json
from sublax.models.lora import PROJECTIONS, LoraConfig, projection_shape
from sublax.models.names import LAYER, PROJECTION_MODULES
from sublax.models.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from sublax.models.weights import check_names, check_tensor, open_tensors
from sublax.parallel.arrays import fetch

WEIGHTS_FILE, CONFIG_FILE = ADAPTER_WEIGHTS, ADAPTER_CONFIG

# Read by `load_adapter`, or without effect on the function once the adapter is trained.
_HARMLESS = {
    *("peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "task_type"),
    *("auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("lora_dropout", "exclude_modules", "layers_pattern", "megatron_core", "qalora_group_size"),
    *("eva_config", "init_lora_weights", "runtime_config", "ensure_weight_tying"),
}
_MOST = 2**62  # of any number: what is larger is none that a float can be
# Starts that leave the base's weights alone; the others (PiSSA, OLoRA, ...) change them.
_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
_TENSOR = re.compile(
    r"base_model\.model\.model\.layers\.\d+\.(?P<module>[a-z_.]+)\.lora_[AB]\.weight"
)


def export_adapter(
    directory: str | os.PathLike, lora: dict[str, Any], lora_config: LoraConfig, base_name: str
) -> None:
    """Writes one adapter as `peft` does, float32.

    Args:
        directory: made if absent; must be empty.
        lora: {"layers": {target: {"a": [L, in, r], "b": [L, r, out]}}}.
        lora_config: its config.
        base_name: the base model's Hub id or folder, for those who load the adapter.

    Raises:
        UserError: the directory holds something.
    """
    directory = empty_directory(directory)
    tensors = {}
    for target, pair in lora["layers"].items():
        for key, leaf in pair.items():
            for layer, part in enumerate(fetch(leaf).astype(np.float32)):
                tensors[_tensor_name(target, layer, key)] = np.ascontiguousarray(part.T)
    save_tensors(tensors, directory / WEIGHTS_FILE)
    alpha = lora_config.alpha
    write_json(
        directory / CONFIG_FILE,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_name,
            "inference_mode": True,
            "r": lora_config.rank,
            "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
            "lora_dropout": 0.0,
            "use_rslora": lora_config.rank_stabilized,
            "target_modules": [
                PROJECTION_MODULES[target].rpartition(".")[2] for target in lora_config.targets
            ],
            "bias": "none",
            "fan_in_fan_out": False,
        },
    )


def load_adapter(
    directory: str | os.PathLike, config: DecoderConfig
) -> tuple[dict[str, Any], LoraConfig]:
    """Reads an adapter that `peft` wrote for this decoder.

    Args:
        directory: holds `adapter_config.json` and `adapter_model.safetensors`.
        config: the base decoder's config.

    Returns:
        (adapter tree, float32 NumPy; its config).

    Raises:
        UserError: no adapter there, an option that is not implemented (DoRA, trained biases,
            whole modules saved beside it, ranks by module, ...), a damaged file, or a tensor
            missing, left over or of the wrong shape.
    """
    directory = pathlib.Path(directory)
    stated = _read_config(directory / CONFIG_FILE)
    path = directory / WEIGHTS_FILE
    with open_tensors([path]) as tensors:
        # The files say better than `target_modules`, which may be a pattern.
        modules = {match["module"] for name in tensors if (match := _TENSOR.fullmatch(name))}
        targets = tuple(name for name in PROJECTIONS if PROJECTION_MODULES[name] in modules)
        lora_config = LoraConfig(
            stated["r"], float(stated["lora_alpha"]), targets, bool(stated.get("use_rslora"))
        )
        names = {
            _tensor_name(target, layer, key): (target, key)
            for target in targets
            for layer in range(config.num_layers)
            for key in ("a", "b")
        }
        if not names:
            raise UserError(f"{path}: adapts no projection of this decoder: give a LoRA adapter")
        check_names(path, set(names), set(tensors))
        layers: dict[str, dict[str, list[np.ndarray]]] = {
            target: {"a": [], "b": []} for target in targets
        }
        for name, (target, key) in names.items():
            fan_in, fan_out = projection_shape(config, target)
            rank = lora_config.rank
            shape = (rank, fan_in) if key == "a" else (fan_out, rank)
            check_tensor(path, name, tensors[name], shape)
            layers[target][key].append(tensors[name][:, :].T.astype(np.float32))
    stacked = {
        target: {key: np.stack(parts) for key, parts in pair.items()}
        for target, pair in layers.items()
    }
    return {"layers": stacked}, lora_config


def stated_base(directory: str | os.PathLike) -> str:
    """The name of the base that an adapter says it was trained on.

    Raises:
        UserError: the config cannot be read, or states none.
    """
    path = pathlib.Path(directory) / CONFIG_FILE
    name = _read_config(path).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: names no base_model_name_or_path: add it, or name the base")
    return name


def _tensor_name(target: str, layer: int, key: str) -> str:
    module = LAYER.format(layer=layer) + PROJECTION_MODULES[target]
    return f"base_model.model.{module}.lora_{key.upper()}.weight"


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        kind, rank, alpha = stated["peft_type"], stated["r"], stated["lora_alpha"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give a folder that peft wrote") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a LoRA config ({error!r}): export it again") from error
    if kind != "LORA":
        raise UserError(f"{path}: peft_type {kind!r} is not supported: use LORA")
    numbers = isinstance(rank, int) and isinstance(alpha, int | float)
    if not numbers or not 1 <= rank < _MOST or not -_MOST < alpha < _MOST:
        raise UserError(f"{path}: r = {rank!r} and lora_alpha = {alpha!r} must be numbers, r >= 1")
    for key, value in stated.items():
        start_ok = key != "init_lora_weights" or value in _STARTS
        off = key in _HARMLESS or not value or (key == "bias" and value == "none")
        if not (start_ok and off):
            raise UserError(f"{path}: {key} = {value!r} is not implemented: merge it with peft")
    return stated
