"""A Hugging Face `config.json` to a `DecoderConfig` and back, refusing what is not implemented.

Defaults of missing keys are those of the family's configuration class in `transformers` 5. A key
that would change the function in a way the decoder does not compute is an error that names it.
"""

import json
import os
import pathlib
import re
from typing import Any

from sublax.errors import UserError
from sublax.models.config import DecoderConfig, RopeConfig

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_LLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
_MISTRAL = _LLAMA | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}
_QWEN2 = _LLAMA | {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
_DEFAULTS = {
    "llama": _LLAMA,
    "mistral": _MISTRAL,
    "qwen2": _QWEN2,
    "qwen3": _QWEN2 | {"head_dim": 128},
}

# Keys whose other values change the function; None always means "not set".
_ONLY_VALUE: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "pretraining_tp": (1,),
    "partial_rotary_factor": (1, 1.0),
    "is_encoder_decoder": (False,),
    "quantization_config": (),
}
# Names under which other decoders keep what this one lacks; harmless when off.
_FOREIGN = re.compile(
    r"softcap|sink|expert|moe|multiplier|logits?_scal|alibi|clip_qkv|cross_attention|no_rope"
    r"|attention_chunk|mrope|mtp|nextn|parallel_residual|per_layer_config|qk_norm|qk_layernorm"
)
# Far above any decoder's; a config that lies would fill memory before its weights are looked for.
_MOST_LAYERS = 10_000
_MOST = 2**62  # of any number; what is larger is no size, and no float either
_FACTOR = re.compile(r"multiplier|scal")  # of these, 1 is off
_ROPE_KINDS = ("default", "linear", "dynamic", "llama3", "yarn")
_ROPE_KEYS = {
    *("type", "rope_type", "rope_theta", "partial_rotary_factor", "factor"),
    *("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    *("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
}


def read_config(folder: str | os.PathLike) -> DecoderConfig:
    """The decoder that a folder in Hugging Face layout holds.

    Raises:
        UserError: no readable `config.json` there, or one that `decoder_config` refuses.
    """
    path = pathlib.Path(folder) / "config.json"
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give a folder that holds a model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}): fetch the model again") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{path}: not a JSON object: fetch the model again")
    return decoder_config(parsed, str(path))


def decoder_config(hf: dict[str, Any], where: str) -> DecoderConfig:
    """Reads a parsed `config.json`, in the spelling of transformers 4 or 5.

    Args:
        hf: the parsed object.
        where: its path, for errors.

    Raises:
        UserError: an unsupported architecture, a field that changes the function and is not
            implemented, or a value that makes no decoder.
    """
    family = hf.get("model_type")
    if not isinstance(family, str) or family not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"{where}: model_type {family!r} is not supported: use one of {known}")
    _refuse_unimplemented(hf, family, where)
    fields = _Fields(_DEFAULTS[family] | hf, where)

    hidden_size, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    kv_heads = fields.integer("num_key_value_heads", null=heads)
    derivable = family != "qwen3" and hidden_size % heads == 0
    head_dim = fields.integer("head_dim", null=hidden_size // heads if derivable else None)
    if heads % kv_heads:
        fields.fail("num_key_value_heads", f"does not divide num_attention_heads {heads}")
    if head_dim % 2:
        fields.fail("head_dim", f"of {head_dim} is odd, and rotary embedding needs pairs")
    layers = fields.integer("num_hidden_layers", most=_MOST_LAYERS)
    max_positions = fields.integer("max_position_embeddings")
    # Qwen 2 and Mistral fix their biases in code; Llama and Qwen 3 read the key.
    biased = fields.flag("attention_bias") if family in ("llama", "qwen3") else False
    return DecoderConfig(
        family=family,
        vocab_size=fields.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_positions=max_positions,
        norm_eps=fields.number("rms_norm_eps"),
        rope=_rope(hf, max_positions, where),
        tied_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=family == "llama" and fields.flag("mlp_bias"),
        qk_norm=family == "qwen3",
        sliding_windows=_windows(fields, family, layers),
    )


def hf_config_dict(config: DecoderConfig) -> dict[str, Any]:
    """A `config.json` that transformers 4 and 5 read as this decoder.

    RoPE is spelled as `rope_theta` and `rope_scaling`, which every version and most other
    programs read.

    Raises:
        UserError: the family's code in transformers cannot express this config.
    """
    if config.family not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"family {config.family!r} cannot be exported: use one of {known}")
    hf: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope.theta,
        "rope_scaling": _rope_scaling(config.rope),
        "tie_word_embeddings": config.tied_embeddings,
    }
    if config.family in ("llama", "qwen3"):
        hf["attention_bias"] = config.qkv_bias
    if config.family == "llama":
        hf["mlp_bias"] = config.mlp_bias
    windows = [window for window in config.sliding_windows if window is not None]
    if config.family == "mistral":
        hf["sliding_window"] = windows[0] if windows else None
    if config.family.startswith("qwen"):
        sliding = [window is not None for window in config.sliding_windows]
        hf["use_sliding_window"] = bool(windows)
        hf["sliding_window"] = windows[0] if windows else None
        hf["max_window_layers"] = sliding.index(True) if windows else config.num_layers
        hf["layer_types"] = ["sliding_attention" if on else "full_attention" for on in sliding]

    read_back = decoder_config(hf, "the exported config.json")
    if read_back != config:
        lost = [name for name in vars(config) if getattr(config, name) != getattr(read_back, name)]
        raise UserError(
            f"{config.family} in transformers cannot express this model's {', '.join(lost)}: "
            "export it as a family that can"
        )
    return hf


class _Fields:
    """Typed reads from a config, with errors that name the key and the file."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values, self.where = values, where

    def fail(self, key: str, problem: str):
        raise UserError(f"{self.where}: {key} {problem}: mend the config or fetch it again")

    def integer(self, key: str, null: int | None = None, least: int = 1, most: int = _MOST) -> int:
        value = self.values.get(key)
        if value is None and null is not None:
            return null
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fail(key, f"is {_short(value)} and must be an integer, at least {least}")
        return value  # type: ignore[return-value]

    def number(self, key: str, unset: float | None = None) -> float:
        value = self.values.get(key)
        if not value and unset is not None:  # null and zero both mean unset where that may be
            return unset
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
            self.fail(key, f"is {_short(value)} and must be a positive number")
        return float(value)  # type: ignore[arg-type]

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if not isinstance(value, bool):
            self.fail(key, f"is {value!r} and must be true or false")
        return bool(value)


def _short(value: Any) -> str:
    """A value in a message; of one that is long, or that Python refuses to write, its type."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = ""
    return text if 0 < len(text) <= 80 else f"a {type(value).__name__}"


def _refuse_unimplemented(hf, family, where):
    architectures = hf.get("architectures")
    listed = isinstance(architectures, list)
    if architectures and not (listed and ARCHITECTURES[family] in architectures):
        raise UserError(
            f"{where}: architectures {architectures} is not supported: "
            f"a {family} must be {ARCHITECTURES[family]}"
        )
    for key, value in hf.items():
        allowed = _ONLY_VALUE.get(key)
        if allowed is None and _FOREIGN.search(key):
            neutral = 1 if _FACTOR.search(key) else 0
            allowed = (neutral, [], {})
        if allowed is not None and value is not None and value not in allowed:
            raise UserError(
                f"{where}: {key} = {json.dumps(value)[:80]} is not implemented: "
                "use a model without it"
            )


def _windows(fields, family, layers) -> tuple[int | None, ...]:
    """Each layer's window, as the family's code in transformers chooses it."""
    given = fields.values.get("layer_types")
    known = {"full_attention", "sliding_attention"}
    if given is not None:
        if not isinstance(given, list) or len(given) != layers:
            fields.fail("layer_types", f"must be a list of {layers} entries")
        for kind in given:
            if not isinstance(kind, str) or kind not in known:
                fields.fail("layer_types", f"has {kind!r}, which is not implemented")

    if family in ("llama", "mistral"):
        # Their code looks at no layer_types: one rule for all layers.
        window = fields.values.get("sliding_window") if family == "mistral" else None
        kind = "full_attention" if window is None else "sliding_attention"
        if given is not None and set(given) != {kind}:
            fields.fail("layer_types", f"must all be {kind!r}, which is all that {family} does")
        return (None if window is None else fields.integer("sliding_window"),) * layers

    on = fields.flag("use_sliding_window") and fields.values.get("sliding_window") is not None
    if given is None:
        start = fields.integer("max_window_layers", least=0)
        given = [
            "sliding_attention" if on and i >= start else "full_attention" for i in range(layers)
        ]
    if "sliding_attention" not in given:
        return (None,) * layers
    if not on:
        fields.fail("layer_types", "has sliding_attention, but use_sliding_window is not on")
    window = fields.integer("sliding_window")
    return tuple(window if kind == "sliding_attention" else None for kind in given)


def _rope(hf, max_positions, where) -> RopeConfig:
    """Both spellings: `rope_scaling` (transformers 4) goes before `rope_parameters` (5)."""
    given = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise UserError(f"{where}: rope_scaling must be an object: mend the config")
    unknown = sorted(set(given) - _ROPE_KEYS)
    if unknown:
        raise UserError(
            f"{where}: rope parameters {', '.join(unknown)} are not implemented: "
            "use a model without them"
        )
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in _ROPE_KINDS:
        raise UserError(
            f"{where}: rope type {kind!r} is not implemented: use one of {', '.join(_ROPE_KINDS)}"
        )
    if given.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UserError(
            f"{where}: partial_rotary_factor = {given['partial_rotary_factor']} is not "
            "implemented: use a model that rotates whole heads"
        )
    fields = _Fields({"rope_theta": hf.get("rope_theta", 10000.0)} | given, where)
    theta = fields.number("rope_theta")
    if kind == "default":
        return RopeConfig(theta=theta)
    if kind in ("linear", "dynamic"):
        return RopeConfig(theta=theta, kind=kind, factor=fields.number("factor"))

    fields.values.setdefault("original_max_position_embeddings", max_positions)
    if "original_max_position_embeddings" in hf:  # at the top level it goes before the nested one
        fields.values["original_max_position_embeddings"] = hf["original_max_position_embeddings"]
    original = fields.integer("original_max_position_embeddings")
    if kind == "llama3":
        low, high = fields.number("low_freq_factor"), fields.number("high_freq_factor")
        if high <= low:
            fields.fail("high_freq_factor", "must be above low_freq_factor")
        return RopeConfig(
            theta=theta,
            kind=kind,
            factor=fields.number("factor"),
            original_max_positions=original,
            low_freq_factor=low,
            high_freq_factor=high,
        )
    if "factor" in given and given["factor"] is None:
        fields.values["factor"] = max_positions / original
    stated = given.get("attention_factor") is not None
    return RopeConfig(
        theta=theta,
        kind=kind,
        factor=fields.number("factor"),
        original_max_positions=original,
        beta_fast=fields.number("beta_fast", unset=32.0),
        beta_slow=fields.number("beta_slow", unset=1.0),
        attention_factor=fields.number("attention_factor") if stated else None,
        mscale=fields.number("mscale", unset=0.0),
        mscale_all_dim=fields.number("mscale_all_dim", unset=0.0),
        truncate=fields.flag("truncate") if "truncate" in given else True,
    )


def _rope_scaling(rope: RopeConfig) -> dict[str, Any] | None:
    if rope.kind == "default":
        return None
    scaling: dict[str, Any] = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.kind in ("llama3", "yarn"):
        scaling["original_max_position_embeddings"] = rope.original_max_positions
    if rope.kind == "llama3":
        scaling["low_freq_factor"] = rope.low_freq_factor
        scaling["high_freq_factor"] = rope.high_freq_factor
    if rope.kind == "yarn":
        scaling |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow}
        scaling["truncate"] = rope.truncate
        for key in ("attention_factor", "mscale", "mscale_all_dim"):
            if getattr(rope, key):
                scaling[key] = getattr(rope, key)
    return scaling
