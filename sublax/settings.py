"""An experiment's config: read from its Python file, overridden from the command line, checked."""

import ast
import difflib
import json
import pathlib
import runpy
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.models.lora import LoraConfig
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.trees import flatten

_TRUTH = {"true": True, "false": False}


def read_config(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads `get_config()` of a Python file, or a run's `config.json`, and applies overrides.

    Args:
        name: path of the file, with `:argument` behind it where `get_config` takes one.
        overrides: strings `a.b=value`. The value takes the type that the key has: text, number,
            true or false, and for a tuple its items with commas between.

    Returns:
        The config, locked.

    Raises:
        UserError: no such file, an unknown key (with the nearest known one), a value of the
            wrong type.
    """
    config = _read_resolved(name) if name.endswith(".json") else _call_get_config(name)
    for text in overrides:
        override(config, text)
    return config.lock()


def _read_resolved(name: str) -> ConfigDict:
    """The config that a run wrote into its workdir."""

    def with_tuples(value: Any) -> Any:  # JSON knows only lists, configs only tuples
        if isinstance(value, dict):
            return {key: with_tuples(item) for key, item in value.items()}
        return tuple(map(with_tuples, value)) if isinstance(value, list) else value

    try:
        return ConfigDict(with_tuples(json.loads(pathlib.Path(name).read_text("utf-8"))))
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such config; give the config.json of a run") from error
    except (ValueError, TypeError, AttributeError) as error:
        told = str(error).split("\n")[0]
        raise UserError(f"{name}: not the config.json of a run ({told}); give another") from error


def _call_get_config(name: str) -> ConfigDict:
    path, _, argument = name.partition(".py:")
    file = pathlib.Path(path if path.endswith(".py") else f"{path}.py")
    if not file.is_file():
        raise UserError(f"{file}: no such config; give a Python file with get_config()")
    # As where Python runs a script: a config may start from one that lies beside it.
    sys.path.insert(0, str(file.parent.absolute()))
    try:
        get_config = runpy.run_path(str(file)).get("get_config")
        if get_config is None:
            raise UserError(f"{file}: has no get_config(); define one that returns a ConfigDict")
        config = get_config(argument) if argument else get_config()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a config is a program: anything can go wrong in it
        told = str(error).split("\n")[0]
        raise UserError(f"{file}: fails with {type(error).__name__}: {told}; mend it") from error
    finally:
        sys.path.pop(0)
    return config


def override(config: ConfigDict, setting: str, flag: str = "--config.") -> None:
    """Sets one key of a config that is not locked.

    Args:
        config: changed in place.
        setting: `a.b=value`, as `read_config` has it.
        flag: what stands before a key where the user wrote it, for messages.

    Raises:
        UserError: an unknown key, with the nearest known one, or a value of the wrong type.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise UserError(f"{flag}{setting}: has no value; write {flag}{setting}=value")
    known = dict(flatten(config.to_dict()))
    target, *parents = [*reversed(key.split("."))]
    holder: Any = config
    for parent in reversed(parents):
        holder = holder.get(parent) if isinstance(holder, ConfigDict) else None
    if not isinstance(holder, ConfigDict) or target not in holder:
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        raise UserError(
            f"{flag}{key}: no such key; the nearest is {flag}{nearest[0]}"
            if nearest
            else f"{flag}{key}: no such key"
        )
    old = holder[target]
    if isinstance(old, ConfigDict):
        keys = ", ".join(old.keys())
        remedy = f"set one of {keys}" if keys else "fill it in the config file"
        raise UserError(f"{flag}{key}: is a group; {remedy}")
    try:
        holder[target] = _parse(text, old)
    except (ValueError, KeyError, SyntaxError, TypeError) as error:
        raise UserError(
            f"{flag}{key}={text}: must be of type {type(old).__name__}, like {old!r}"
        ) from error


def _parse(text: str, old: Any) -> Any:
    """The value that `text` stands for, of the type of `old`."""
    if isinstance(old, str):
        return text
    if isinstance(old, bool):
        return _TRUTH[text.lower()]
    if isinstance(old, tuple):
        items = [item.strip() for item in text.strip("()[] ").split(",") if item.strip()]
        sample = old[0] if old else None
        if sample is None:
            return tuple(_literal_or_text(item) for item in items)
        return tuple(_parse(item.strip("'\""), sample) for item in items)
    if isinstance(old, int):
        return int(text)
    if isinstance(old, float):
        return float(text)
    return ast.literal_eval(text)


def _literal_or_text(item: str) -> Any:
    try:
        return ast.literal_eval(item)
    except (ValueError, SyntaxError):
        return item


def plain(config: Any) -> Any:
    """A config or part of it as JSON has it: dictionaries, lists, text, numbers."""
    value = config.to_dict() if isinstance(config, ConfigDict) else config
    return json.loads(json.dumps(value))


def changed_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two plain configs, as `key: old -> new`."""
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        f"{key}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def held_out_count(config: ConfigDict) -> int:
    """How many questions students are asked, where they are a list of a shipped pack.

    Those lists have 50; teachers that are fine-tuned learn on half of them.
    """
    return 50 if config.teacher.kind == "prompted" else 25


def lora_config(section: ConfigDict) -> LoraConfig:
    """The adapter's shape from its section."""
    return LoraConfig(
        int(section.rank), float(section.alpha), tuple(section.targets), section.rank_stabilized
    )


def loss_config(section: ConfigDict) -> LossConfig:
    """The loss from its section."""
    return LossConfig(
        section.kind,
        section.direction,
        float(section.temperature),
        section.chunk,
        float(section.beta),
    )


def optimizer_config(section: ConfigDict) -> OptimizerConfig:
    """The update rule from its section."""
    return OptimizerConfig(**section.to_dict())
