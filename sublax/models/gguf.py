"""A GGUF file's metadata and tensors to the decoder's config and parameters."""

from collections.abc import Callable
from typing import Any

import gguf
import jax.numpy as jnp
import numpy as np

from sublax.errors import UserError
from sublax.models.config import DecoderConfig, RopeConfig
from sublax.models.gguf_file import GGUFFile, StoredTensor
from sublax.models.names import named_parameters
from sublax.models.weights import check_names, load_leaves

_ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
_Type = gguf.GGMLQuantizationType
_TYPES = (
    *(_Type.F32, _Type.F16, _Type.BF16, _Type.Q8_0, _Type.Q4_0, _Type.Q4_1),
    *(_Type.Q4_K, _Type.Q5_K, _Type.Q6_K),
)
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_ROPE_FREQUENCIES = "rope_freqs.weight"
# Llama 3.1 to 3.3: the original context, and the low and high frequency factors.
_LLAMA3 = (8192, 1.0, 4.0)


def decoder_config(file: GGUFFile) -> DecoderConfig:
    """The decoder that a GGUF file holds.

    Biases and a head of its own are there when their tensors are; the rest is metadata.

    Raises:
        UserError: an architecture or a key of it that is not implemented, or one that is missing
            or of no use.
    """
    fields = _Fields(file)
    heads, width = fields.integer("attention.head_count"), fields.integer("embedding_length")
    kv_heads = fields.integer("attention.head_count_kv", heads)
    head_dim = fields.integer("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if fields.integer(key, head_dim) != head_dim:
            fields.fail(key, f"differs from the head size {head_dim}, which is not implemented")
    if heads % kv_heads or head_dim % 2 or head_dim == 0:
        fields.fail("attention.head_count", "does not fit head_count_kv and the head size")
    layers, max_positions = fields.integer("block_count"), fields.integer("context_length")
    for needed in ("token_embd.weight", f"blk.{layers - 1}.attn_q.weight"):
        if needed not in file.tensors:
            raise UserError(f"{file.path}: has no tensor {needed}: fetch the file again")
    if layers > len(file.tensors):  # before anything is made for each of them
        fields.fail(
            "block_count", f"of {layers} is more than the file's {len(file.tensors)} tensors"
        )
    # Qwen's windows depend on the layer, which GGUF does not say; there it stays unread.
    mistral = fields.family == "llama" and "llama.attention.sliding_window" in file.metadata
    window = fields.integer("attention.sliding_window") if mistral else None
    for key in ("expert_count", "expert_used_count"):
        fields.value(key, 0, lambda count: count == 0)
    rope = _rope(fields, file, head_dim, max_positions)
    epsilon = fields.number("attention.layer_norm_rms_epsilon")
    width_mlp = fields.integer("feed_forward_length")
    fields.refuse_unread()
    return DecoderConfig(
        family="mistral" if mistral else fields.family,
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        hidden_size=width,
        intermediate_size=width_mlp,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_positions=max_positions,
        norm_eps=epsilon,
        rope=rope,
        tied_embeddings="output.weight" not in file.tensors,
        qkv_bias="blk.0.attn_q.bias" in file.tensors,
        output_bias="blk.0.attn_output.bias" in file.tensors,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        qk_norm=fields.family == "qwen3",
        sliding_windows=(window,) * layers,
    )


def load_params(
    file: GGUFFile, config: DecoderConfig, shardings: Any = None, dtype: Any = jnp.float32
) -> dict[str, Any]:
    """Dequantizes a GGUF file's tensors into parameters, one leaf at a time.

    Args:
        file: an open file.
        config: what `decoder_config` says of it.
        shardings: tree of `jax.sharding.Sharding` like the parameters; None puts everything on
            the first local device.
        dtype: of the parameters, whatever the file stores.

    Returns:
        The nested dictionary of the decoder's collection `params`.

    Raises:
        UserError: a tensor missing or left over (both lists), of the wrong shape, or of a type
            that cannot be read.
    """
    parameters = named_parameters(config)
    architecture = file.metadata["general.architecture"]
    names = gguf.get_tensor_name_map(_ARCHITECTURES[architecture], config.num_layers)
    expected = {
        hf_name: (str(names.get_name(hf_name, (".weight", ".bias"))), parameter.tensor_shape)
        for parameter in parameters
        for hf_name in parameter.tensors
    }
    # Its content is in `config.rope`; llama.cpp itself holds it to be no weight.
    found = set(file.tensors) - {_ROPE_FREQUENCIES}
    check_names(file.path, {name for name, _ in expected.values()}, found)
    tensors = {}
    for hf_name, (name, shape) in expected.items():
        stored = file.tensors[name]
        if stored.shape != shape:
            raise UserError(
                f"{file.path}: {name} has shape {stored.shape}, its metadata needs {shape}: "
                "fetch the file again"
            )
        if stored.kind not in _TYPES:
            known = ", ".join(kind.name for kind in _TYPES)
            raise UserError(
                f"{file.path}: {name} is of type {stored.kind.name}: use a file of {known}"
            )
        heads = _permuted_heads(name, config) if architecture == "llama" else None
        tensors[hf_name] = _Dequantized(stored, _half_split(shape[0], heads) if heads else None)
    return load_leaves(parameters, tensors, shardings, dtype)


class _Dequantized:
    """A tensor that is dequantized where it is sliced: float32, in Hugging Face's row order."""

    def __init__(self, stored: StoredTensor, row_order: np.ndarray | None):
        self.stored, self.row_order = stored, row_order

    def __getitem__(self, window: tuple[slice, ...]) -> np.ndarray:
        chosen = window[0] if self.row_order is None else self.row_order[window[0]]
        if len(self.stored.shape) == 1:
            return gguf.quants.dequantize(self.stored.data, self.stored.kind).reshape(-1)[chosen]
        return gguf.quants.dequantize(self.stored.data[chosen], self.stored.kind)[:, window[1]]


def _permuted_heads(name: str, config: DecoderConfig) -> int | None:
    """How many heads' rows llama.cpp's converter has permuted in this tensor, if any.

    It does so for `llama` alone, whose rotation there takes neighbouring rows as pairs.
    """
    if ".attn_q." in name:
        return config.num_heads
    return config.num_kv_heads if ".attn_k." in name else None


def _half_split(rows: int, heads: int) -> np.ndarray:
    """The row of the file for each row of Hugging Face's layout.

    Row 2i + s of a head in the file is row i + s h/2 there: pairs lie side by side, not half a
    head apart.
    """
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(rows)


class _Fields:
    """Typed reads of an architecture's keys, which remember what was read."""

    def __init__(self, file: GGUFFile):
        self.path, self.metadata = file.path, file.metadata
        self.family = str(file.metadata.get("general.architecture"))
        if self.family not in _ARCHITECTURES:
            known = ", ".join(_ARCHITECTURES)
            raise UserError(
                f"{self.path}: architecture {self.family!r} is not supported: use one of {known}"
            )
        self.read = {"vocab_size", "rope.scaling.finetuned"}  # neither changes the function

    def fail(self, key: str, problem: str):
        raise UserError(f"{self.path}: {self.family}.{key} {problem}: use another file")

    def value(self, key: str, default: Any, fits: Callable[[Any], bool]) -> Any:
        self.read.add(key)
        value = self.metadata.get(f"{self.family}.{key}", default)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]  # some converters write one entry a layer
        if value is None:
            self.fail(key, "is missing")
        if value is not default and not fits(value):
            self.fail(key, f"is {value!r}, which is not implemented")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        return self.value(key, default, lambda v: type(v) is int and v > 0)

    def number(self, key: str, default: float | None = None) -> float:
        value = self.value(key, default, lambda v: type(v) in (int, float) and _TINY < v < _HUGE)
        return float(str(np.float32(value)))  # stored as float32: 1e-5, not 9.99999975e-06

    def refuse_unread(self):
        """A key that nobody asked for may change the function."""
        keys = {key for key in self.metadata if key.startswith(f"{self.family}.")}
        unread = sorted(keys - {f"{self.family}.{key}" for key in self.read})
        if unread:
            raise UserError(
                f"{self.path}: {', '.join(unread)} not implemented: use a model without"
            )


def _rope(fields: _Fields, file: GGUFFile, head_dim: int, max_positions: int) -> RopeConfig:
    theta = fields.number("rope.freq_base", 10000.0)
    # Linear by a factor of 1 is what llama.cpp takes a file to mean that says nothing.
    kind = fields.value("rope.scaling.type", "linear", ("none", "linear", "yarn").__contains__)
    factor = fields.number("rope.scaling.factor", 1.0)
    original = fields.integer("rope.scaling.original_context_length", max_positions)
    if fields.number("rope.scaling.attn_factor", 1.0) != 1.0:
        fields.fail("rope.scaling.attn_factor", "other than 1 is not implemented")
    fast = fields.number("rope.scaling.yarn_beta_fast", 32.0)
    slow = fields.number("rope.scaling.yarn_beta_slow", 1.0)
    if _ROPE_FREQUENCIES in file.tensors:
        if kind == "yarn" or factor != 1.0:
            fields.fail("rope.scaling.type", f"is {kind!r} beside a tensor {_ROPE_FREQUENCIES}")
        return _stretched(file, theta, head_dim)
    if kind == "yarn":
        return RopeConfig(
            theta=theta,
            kind="yarn",
            factor=factor,
            original_max_positions=original,
            beta_fast=fast,
            beta_slow=slow,
        )
    if kind == "linear" and factor != 1.0:
        return RopeConfig(theta=theta, kind="linear", factor=factor)
    return RopeConfig(theta=theta)


def _stretched(file: GGUFFile, theta: float, head_dim: int) -> RopeConfig:
    """Finds the `llama3` scaling whose divisors of the frequencies a file stores."""
    stored = file.tensors[_ROPE_FREQUENCIES]
    if stored.kind != _Type.F32 or stored.shape != (head_dim // 2,):
        raise UserError(
            f"{file.path}: {_ROPE_FREQUENCIES} must be {head_dim // 2} numbers in F32: "
            "fetch the file again"
        )
    divisors = gguf.quants.dequantize(stored.data, stored.kind).reshape(-1)
    if not (np.isfinite(divisors).all() and divisors.min() > 0):
        raise UserError(f"{file.path}: {_ROPE_FREQUENCIES} has no divisors: fetch the file again")
    original, low, high = _LLAMA3
    rope = RopeConfig(
        theta=theta,
        kind="llama3",
        factor=float(divisors.max()),
        original_max_positions=original,
        low_freq_factor=low,
        high_freq_factor=high,
    )
    rotations = original * theta ** -(np.arange(0, head_dim, 2) / head_dim) / (2 * np.pi)
    ramp = np.clip((rotations - low) / (high - low), 0, 1)
    if not np.allclose(divisors, 1 / ((1 - ramp) / rope.factor + ramp), rtol=1e-4):
        raise UserError(
            f"{file.path}: {_ROPE_FREQUENCIES} is not the scaling of Llama 3.1, and no other is "
            "implemented: use another file"
        )
    return rope
