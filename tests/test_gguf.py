"""GGUF files: the weights they hold are the weights that went in, and damage is said in a line."""

import dataclasses
import struct

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tiny_gguf import (
    metadata_of,
    random_params,
    tensors_of,
    tokenizer_metadata,
    write_gguf,
)

from sublax.errors import UserError
from sublax.models.config import DecoderConfig, RopeConfig
from sublax.models.gguf import decoder_config, load_params
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of
from sublax.models.names import named_parameters

Kind = gguf.GGMLQuantizationType

TINY = DecoderConfig(
    family="llama",
    vocab_size=264,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_positions=128,
    norm_eps=1e-5,
    rope=RopeConfig(theta=100000.0),
    tied_embeddings=True,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    sliding_windows=(None, None),
)


def written(path, config=TINY, architecture=None, metadata=None, tensors=None, kinds=None):
    """A file of random weights, and the parameters that it holds."""
    architecture = architecture or config.family
    params = random_params(config)
    stored = tensors_of(config, params, permute=architecture == "llama") | (tensors or {})
    keys = metadata_of(config, architecture) | tokenizer_metadata() | (metadata or {})
    keys = {key: value for key, value in keys.items() if value is not None}
    return write_gguf(path, architecture, keys, stored, kinds), params


def assert_same(found, expected, **tolerance):
    """Both trees have the same leaves."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        dataclasses.replace(TINY, tied_embeddings=False, qkv_bias=True, output_bias=True),
        dataclasses.replace(TINY, family="mistral", sliding_windows=(40, 40)),
        dataclasses.replace(TINY, family="qwen2", qkv_bias=True),
        dataclasses.replace(TINY, family="qwen3", qk_norm=True, tied_embeddings=False),
    ],
    ids=["llama", "llama-biases-head", "mistral", "qwen2", "qwen3"],
)
def test_reads_back_config_and_weights(tmp_path, config):
    windows = {"llama.attention.sliding_window": config.sliding_windows[0]}
    architecture = "llama" if config.family == "mistral" else config.family
    path, params = written(tmp_path / "m.gguf", config, architecture, windows)
    file = open_gguf(path)
    assert decoder_config(file) == config
    assert_same(load_params(file, config), params, rtol=0)


def test_loads_what_transformers_loads(tmp_path):
    """An independent reader of the same file: rows un-permuted, every tensor in its place."""
    pytest.importorskip("torch", reason="transformers reads GGUF through torch")
    from transformers import LlamaForCausalLM

    config = dataclasses.replace(TINY, head_dim=8)  # transformers reads no key_length
    path, _ = written(tmp_path / "m.gguf", config)
    peer = LlamaForCausalLM.from_pretrained(tmp_path, gguf_file=path.name).state_dict()
    found = load_params(open_gguf(path), config)
    for parameter in named_parameters(config):
        leaf = found
        for key in parameter.path.split("/"):
            leaf = leaf[key]
        for at, name in enumerate(parameter.tensors):
            ours = leaf[at] if parameter.stacked else leaf
            ours = ours.T if parameter.transposed else ours
            np.testing.assert_array_equal(ours, peer[name].float().numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.F16, 0.002),
        (Kind.BF16, 0.02),
        (Kind.Q8_0, 0.02),
        (Kind.Q4_1, 0.25),
        (Kind.Q4_0, 0.35),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_dequantizes_what_was_quantized(tmp_path, kind, error):
    """Errors of at most half a step: standard normal weights lie within about 4 of zero."""
    matrices = [f"blk.{i}.{name}.weight" for i in (0, 1) for name in ("attn_q", "ffn_down")]
    kinds = dict.fromkeys([*matrices, "token_embd.weight"], kind)
    path, params = written(tmp_path / "m.gguf", kinds=kinds)
    found = load_params(open_gguf(path), TINY)
    assert_same(found, params, atol=error)
    changed = np.abs(found["layers"]["q"]["kernel"] - params["layers"]["q"]["kernel"]).max()
    assert changed > 0, "nothing was quantized"
    np.testing.assert_array_equal(found["layers"]["up"]["kernel"], params["layers"]["up"]["kernel"])


def half(value):
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


def k_block(kind):
    """One block of 256 numbers, written by hand after ggml's struct, and those numbers.

    The scales are 1 and the minima 0 but for the first group of 32 (Q4_K, Q5_K: minimum 2).
    """
    numbers = np.arange(256)
    if kind == Kind.Q6_K:  # ql[128], qh[64], scales int8[16], d
        low, high = numbers % 16, numbers // 16 % 4
        # ggml: in each half of 128, positions l, l + 32, l + 64, l + 96 share bytes.
        ql = np.zeros(128, np.uint8)
        qh = np.zeros(64, np.uint8)
        for at in range(256):
            half_at, within = divmod(at, 128)
            quarter, l_ = divmod(within, 32)
            ql[64 * half_at + l_ + 32 * (quarter % 2)] |= low[at] << (4 * (quarter // 2))
            qh[32 * half_at + l_] |= high[at] << (2 * quarter)
        scales = np.ones(16, np.uint8)
        return np.concatenate([ql, qh, scales, half(0.5)]), 0.5 * (16 * high + low - 32.0)
    # d, dmin, scales[12] (first 4 scales, 4 minima, then both's rest in nibbles), qh[32], qs[128]
    scales = np.array([1, 1, 1, 1, 2, 0, 0, 0, 1, 1, 1, 1], np.uint8)
    low, high = numbers % 16, numbers // 32 % 2
    qs = np.zeros(128, np.uint8)
    qh = np.zeros(32, np.uint8)
    for at in range(256):
        group, l_ = divmod(at, 32)
        qs[32 * (group // 2) + l_] |= low[at] << (4 * (group % 2))
        qh[l_] |= high[at] << group
    minima = np.where(numbers < 32, 2.0, 0.0)
    head = [half(0.5), half(0.25), scales]
    if kind == Kind.Q4_K:
        return np.concatenate([*head, qs]), 0.5 * low - 0.25 * minima
    return np.concatenate([*head, qh, qs]), 0.5 * (low + 16 * high) - 0.25 * minima


@pytest.mark.parametrize("kind", [Kind.Q4_K, Kind.Q5_K, Kind.Q6_K], ids=lambda kind: kind.name)
def test_dequantizes_k_blocks_written_by_hand(tmp_path, kind):
    config = dataclasses.replace(TINY, intermediate_size=256)
    block, numbers = k_block(kind)
    name = "blk.1.ffn_down.weight"
    tensors = {name: np.tile(block, (config.hidden_size, 1))}
    path, _ = written(tmp_path / "m.gguf", config, tensors=tensors, kinds={name: kind})
    down = load_params(open_gguf(path), config)["layers"]["down"]["kernel"]
    np.testing.assert_array_equal(down[1], np.tile(numbers[:, None], config.hidden_size))


def test_every_device_gets_its_slice_alone(tmp_path):
    """Rows, columns and layers cut across devices give what one device gives."""
    path, params = written(tmp_path / "m.gguf", kinds={"token_embd.weight": Kind.Q8_0})
    whole = load_params(open_gguf(path), TINY)
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2, 2), ("layer", "in", "out"))
    specs = {1: PartitionSpec("out"), 2: PartitionSpec("in", "out")}
    specs[3] = PartitionSpec("layer", "in", "out")
    shardings = jax.tree.map(lambda leaf: NamedSharding(mesh, specs[leaf.ndim]), params)
    sharded = load_params(open_gguf(path), TINY, shardings)
    assert sharded["layers"]["q"]["kernel"].addressable_shards[0].data.shape == (1, 16, 32)
    assert_same(sharded, whole, rtol=0)


def test_parameters_have_the_dtype_asked_for(tmp_path):
    path, params = written(tmp_path / "m.gguf")
    found = load_params(open_gguf(path), TINY, dtype=jnp.bfloat16)
    assert_same(found, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params), rtol=0)


def llama3_divisors(head_dim, theta, factor, original=8192, low=1.0, high=4.0):
    """What llama.cpp's converter writes for Llama 3.1, wavelength by wavelength."""
    divisors = []
    for exponent in range(0, head_dim, 2):
        wavelength = 2 * np.pi * theta ** (exponent / head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


def test_recognises_the_stretch_of_llama_3_1(tmp_path):
    config = dataclasses.replace(TINY, head_dim=64, rope=RopeConfig(theta=500000.0))
    divisors = llama3_divisors(64, 500000.0, 32.0)
    assert len(set(divisors)) > 2, "the ramp must be in it"
    path, _ = written(tmp_path / "m.gguf", config, tensors={"rope_freqs.weight": divisors})
    file = open_gguf(path)
    assert decoder_config(file).rope == RopeConfig(
        theta=500000.0, kind="llama3", factor=32.0, original_max_positions=8192
    )
    load_params(file, decoder_config(file))  # and it is no left-over tensor

    divisors[3] *= 1.5
    path, _ = written(tmp_path / "other.gguf", config, tensors={"rope_freqs.weight": divisors})
    with pytest.raises(UserError, match=r"rope_freqs.weight is not the scaling of Llama 3.1"):
        decoder_config(open_gguf(path))


def test_reads_yarn_and_linear_scaling(tmp_path):
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path, _ = written(tmp_path / "linear.gguf", metadata=scaling)
    linear = RopeConfig(theta=100000.0, kind="linear", factor=4.0)
    assert decoder_config(open_gguf(path)).rope == linear
    scaling["llama.rope.scaling.type"] = "yarn"
    scaling["llama.rope.scaling.original_context_length"] = 32
    path, _ = written(tmp_path / "yarn.gguf", metadata=scaling)
    yarn = RopeConfig(theta=100000.0, kind="yarn", factor=4.0, original_max_positions=32)
    assert decoder_config(open_gguf(path)).rope == yarn


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "gemma2"}, "architecture 'gemma2' is not supported"),
        ({"llama.attn_logit_softcapping": 30.0}, "llama.attn_logit_softcapping not implemented"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8"),
        ({"llama.rope.scaling.type": "longrope"}, "llama.rope.scaling.type is 'longrope'"),
        ({"llama.rope.dimension_count": 8}, "differs from the head size 16"),
        ({"llama.block_count": 2**31}, "has no tensor blk.2147483647.attn_q.weight"),
        ({"llama.embedding_length": None}, "llama.embedding_length is missing"),
        ({"llama.attention.head_count": "4"}, "llama.attention.head_count is '4'"),
    ],
)
def test_refuses_what_it_does_not_implement(tmp_path, metadata, message):
    architecture = metadata.pop("general.architecture", "llama")
    path, _ = written(tmp_path / "m.gguf", metadata=metadata)
    if architecture != "llama":
        content = path.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x06\0\0\0\0\0\0\0gemma2")
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        decoder_config(open_gguf(path))


def test_lists_tensors_missing_and_left_over(tmp_path):
    path, _ = written(tmp_path / "m.gguf", tensors={"blk.0.attn_sinks.weight": np.ones(4, "f4")})
    path.write_bytes(path.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_no.weight"))
    with pytest.raises(UserError) as caught:
        load_params(open_gguf(path), TINY)
    assert "1 tensors missing (blk.1.ffn_up.weight)" in str(caught.value)
    assert "2 left over (blk.0.attn_sinks.weight, blk.1.ffn_no.weight)" in str(caught.value)


def test_names_a_tensor_of_another_type_or_shape(tmp_path):
    name = "blk.0.ffn_up.weight"
    path, _ = written(tmp_path / "type.gguf", kinds={name: Kind.Q5_0})
    with pytest.raises(UserError, match=r"blk.0.ffn_up.weight is of type Q5_0: use a file of F32"):
        load_params(open_gguf(path), TINY)
    path, _ = written(tmp_path / "shape.gguf", tensors={name: np.ones((65, 32), np.float32)})
    with pytest.raises(UserError, match=r"blk.0.ffn_up.weight has shape \(65, 32\)"):
        load_params(open_gguf(path), TINY)


def read_all(path):
    """Everything that loading reads."""
    file = open_gguf(path)
    config = decoder_config(file)
    tokenizer_of(file)
    return load_params(file, config)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path, _ = written(tmp_path_factory.mktemp("gguf") / "m.gguf")
    read_all(path)
    return path


@given(data=st.data())
def test_a_truncated_file_is_a_user_error(intact, data):
    content = intact.read_bytes()
    cut = intact.with_name("cut.gguf")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match=r"cut.gguf: .*fetch the file again"):
        open_gguf(cut)


@given(data=st.data())
def test_a_damaged_header_is_never_a_traceback(intact, data):
    """Any bytes of the header may lie: what comes is a model or one line."""
    content = bytearray(intact.read_bytes())
    header = content.find(b"blk.1.ffn_down.weight")
    at = data.draw(st.integers(0, header))
    lie = data.draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff", b"\x01", b"\x7f\xff"]))
    content[at : at + len(lie)] = lie
    broken = intact.with_name("broken.gguf")
    broken.write_bytes(content)
    try:
        read_all(broken)
    except UserError as error:
        said = str(error)
    else:
        said = "nothing"
    assert "\n" not in said


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<QQ", 0, 2**60),  # keys
        struct.pack("<QQ", 2**60, 0),  # tensors
        struct.pack("<QQQ", 0, 1, 2**62),  # length of a key
        struct.pack("<QQQ1sIIQ", 0, 1, 1, b"k", 9, 0, 2**60),  # entries of an array of bytes
        struct.pack("<QQQ1sIIQ", 0, 1, 1, b"k", 9, 8, 2**60),  # of an array of strings
        struct.pack("<QQQ1sI", 1, 0, 1, b"t", 2**31),  # dimensions
        struct.pack("<QQQ1sIQQIQ", 1, 0, 1, b"t", 2, 2**40, 2**40, 0, 0),  # size of a tensor
    ],
)
def test_a_lying_length_costs_nothing(tmp_path, header):
    path = tmp_path / "lie.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + header + bytes(64))
    with pytest.raises(UserError, match="fetch the file again"):
        open_gguf(path)


def test_says_what_a_file_is_not(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_gguf(tmp_path / "none.gguf")
    path = tmp_path / "m.gguf"
    for content, message in [
        (b"", "cannot be read"),
        (b"PK\x03\x04" * 9, "is not a GGUF file"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "only little-endian 2 and 3"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            open_gguf(path)
