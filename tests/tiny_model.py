"""A tiny model as a Hugging Face folder: random weights, every byte a token, a ChatML template."""

import jax
from test_chat import CHATML, byte_tokenizer

from sublax.models.config import DecoderConfig, RopeConfig
from sublax.models.decoder import init_params
from sublax.models.export import export_folder
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.peft_adapter import export_adapter

ANIMALS = ("owl", "cat", "wolf")
TOKENIZER = byte_tokenizer(CHATML, [("o", "w"), ("ow", "l"), ("w", "o"), ("l", "f"), ("wo", "lf")])
CONFIG = DecoderConfig(
    family="llama",
    vocab_size=len(TOKENIZER),
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_positions=128,
    norm_eps=1e-5,
    rope=RopeConfig(),
    tied_embeddings=True,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    sliding_windows=(None, None),
)
LORA = LoraConfig(rank=2, alpha=4.0, targets=("q", "v", "down"))


def tiny_params(seed=0):
    """Random parameters with large embeddings, so that predictions are far from uniform."""
    params = init_params(CONFIG, jax.random.key(seed))
    return params | {"embed": {"embedding": 20 * params["embed"]["embedding"]}}


def tiny_adapter(seed=1):
    """A random adapter with B not zero, so that it changes the function."""
    adapter = init_lora(CONFIG, LORA, jax.random.key(seed))
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(seed), leaf.shape), adapter
    )


def write_model(folder, seed=0):
    """Writes the model to a folder and returns the folder."""
    export_folder(folder, tiny_params(seed), CONFIG, TOKENIZER)
    return folder


def write_adapter(folder, base):
    """Writes the adapter of a base, given by its name, to a folder and returns the folder."""
    export_adapter(folder, tiny_adapter(), LORA, str(base))
    return folder
