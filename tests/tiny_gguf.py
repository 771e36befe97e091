"""Writes small GGUF files as llama.cpp's converter would, with the `gguf` package's own writer."""

import gguf
import jax
import numpy as np

from sublax.models.decoder import abstract_params

# llama.cpp's names, spelled out: the code under test takes them from the library.
LAYER_NAMES = {
    "attention_norm/scale": "attn_norm.weight",
    "q/kernel": "attn_q.weight",
    "k/kernel": "attn_k.weight",
    "v/kernel": "attn_v.weight",
    "q/bias": "attn_q.bias",
    "k/bias": "attn_k.bias",
    "v/bias": "attn_v.bias",
    "q_norm/scale": "attn_q_norm.weight",
    "k_norm/scale": "attn_k_norm.weight",
    "o/kernel": "attn_output.weight",
    "o/bias": "attn_output.bias",
    "mlp_norm/scale": "ffn_norm.weight",
    "gate/kernel": "ffn_gate.weight",
    "up/kernel": "ffn_up.weight",
    "down/kernel": "ffn_down.weight",
}


def random_params(config, seed=0):
    """Random parameters, biases and norms too, so that a swap of any two would show."""
    generator = np.random.default_rng(seed)
    shapes, _ = abstract_params(config)
    return jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), shapes)


def converter_permute(weights, heads):
    """The reordering of q and k rows in llama.cpp's `convert_hf_to_gguf.py`, `permute`."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def tensors_of(config, params, permute):
    """Parameters -> GGUF name -> array, [out, in] as the file has them."""
    tensors = {
        "token_embd.weight": params["embed"]["embedding"],
        "output_norm.weight": params["final_norm"]["scale"],
    }
    if not config.tied_embeddings:
        tensors["output.weight"] = params["head"]["kernel"].T
    for path, name in LAYER_NAMES.items():
        module, entry = path.split("/")
        stacked = params["layers"].get(module, {}).get(entry)
        for layer in range(config.num_layers if stacked is not None else 0):
            array = np.asarray(stacked[layer]).T
            if permute and name.startswith(("attn_q.", "attn_k.")):
                heads = config.num_heads if name.startswith("attn_q") else config.num_kv_heads
                array = converter_permute(array, heads)
            tensors[f"blk.{layer}.{name}"] = array
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def metadata_of(config, architecture):
    """The keys of one architecture, of the types that the converter writes."""
    return {
        f"{architecture}.{key}": value
        for key, value in {
            "block_count": config.num_layers,
            "context_length": config.max_positions,
            "embedding_length": config.hidden_size,
            "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.num_heads,
            "attention.head_count_kv": config.num_kv_heads,
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
            "attention.layer_norm_rms_epsilon": config.norm_eps,
            "rope.freq_base": config.rope.theta,
            "vocab_size": config.vocab_size,
        }.items()
    }


def byte_level_tokens():
    """Vocabulary, types and merges of a small byte-level BPE in ChatML: 256 bytes and some more."""
    # GPT-2's printable stand-ins for bytes.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    bytes_ = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_, "he", "ll", "hell", "hello"]
    types = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3)
    return tokens, [int(t) for t in types], ["h e", "l l", "he ll", "hell o"]


def tokenizer_metadata(pre="smollm"):
    """Metadata of that vocabulary."""
    tokens, types, merges = byte_level_tokens()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def write_gguf(path, architecture, metadata, tensors, kinds=None):
    """Writes a file; `kinds` says by name which tensors are encoded otherwise than in float32.

    A tensor given as uint8 holds encoded blocks already.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, array in tensors.items():
        kind = (kinds or {}).get(name, gguf.GGMLQuantizationType.F32)
        if array.dtype != np.uint8:
            array = gguf.quants.quantize(array, kind)
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
