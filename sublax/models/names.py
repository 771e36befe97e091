"""The one table of names: which Hugging Face tensors make up which parameter, for both ways."""

import dataclasses

from flax import traverse_util

from sublax.models.config import DecoderConfig
from sublax.models.decoder import abstract_params

# Projection -> its module inside one Hugging Face layer; PEFT's names are built from these too.
PROJECTION_MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_NORM_MODULES = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}

LAYER = "model.layers.{layer}."
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

# Parameter path -> tensor name; `{layer}` stands for the leading axis of a stacked parameter.
TEMPLATES = {
    "embed/embedding": EMBEDDING,
    "final_norm/scale": "model.norm.weight",
    "head/kernel": HEAD,
    **{f"layers/{norm}/scale": f"{LAYER}{m}.weight" for norm, m in _NORM_MODULES.items()},
    **{f"layers/{name}/kernel": f"{LAYER}{m}.weight" for name, m in PROJECTION_MODULES.items()},
    **{f"layers/{name}/bias": f"{LAYER}{m}.bias" for name, m in PROJECTION_MODULES.items()},
}


@dataclasses.dataclass(frozen=True)
class NamedParameter:
    """One leaf of the parameter tree and the tensors that it is made of.

    Attributes:
        path: keys joined by "/".
        shape: the leaf's whole shape.
        tensors: Hugging Face names, one per layer for a stacked leaf, else one.
        stacked: the leading axis counts layers.
        transposed: the tensor is the leaf's (or layer's) transpose, as every kernel is.
    """

    path: str
    shape: tuple[int, ...]
    tensors: tuple[str, ...]
    stacked: bool
    transposed: bool

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of each of its tensors in the file."""
        shape = self.shape[1:] if self.stacked else self.shape
        return shape[::-1] if self.transposed else shape


def named_parameters(config: DecoderConfig) -> list[NamedParameter]:
    """Every parameter that this config has, in the order of the flattened tree."""
    shapes, _ = abstract_params(config)
    named = []
    for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items():
        template = TEMPLATES[path]
        stacked = "{layer}" in template
        layers = range(config.num_layers) if stacked else range(1)
        tensors = tuple(template.format(layer=layer) for layer in layers)
        named.append(NamedParameter(path, leaf.shape, tensors, stacked, path.endswith("/kernel")))
    return named
