"""Model files from strangers: what is in them is read in little memory, or refused in a line."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import resource
import struct
import sys
import tempfile
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from test_gguf import TINY, written

from sublax.errors import UserError
from sublax.models.gguf import decoder_config, load_params
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of
from sublax.models.hf_config import decoder_config as hf_decoder_config
from sublax.models.hf_config import hf_config_dict, read_config
from sublax.models.names import named_parameters
from sublax.models.weight_files import weight_files
from sublax.models.weights import load_folder, open_tensors

# Lengths that lie: too large for any file, just too large for this one, or nothing at all.
LIES = [0, 1, 2, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]
MOST_BYTES = 64 << 20  # of memory for a file of some kilobytes
MOST_SECONDS = 5.0

# Changes of a file's bytes: a lie in a place of 8 or of 4 bytes, any bytes anywhere, or an end.
# Half of them fall into the first bytes, where the counts are.
places = st.one_of(st.integers(0, 64), st.floats(0, 1))
changes = st.lists(
    st.one_of(
        st.tuples(st.just("<Q"), places, st.sampled_from(LIES)),
        st.tuples(st.just("<I"), places, st.sampled_from([lie % 2**32 for lie in LIES])),
        st.tuples(st.just("bytes"), places, st.binary(min_size=1, max_size=12)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=12)),
        st.tuples(st.just("cut"), places, st.just(0)),
    ),
    min_size=1,
    max_size=4,
)


def changed(content, list_of_changes):
    """A file's bytes after some changes; a place is an offset, or a share of the file's length."""
    content = bytearray(content)
    for how, place, value in list_of_changes:
        at = place if isinstance(place, int) else int(place * len(content))
        if how == "cut":
            del content[at:]
        elif how == "insert":
            content[at:at] = value
        else:
            new = value if how == "bytes" else struct.pack(how, value)
            content[at : at + len(new)] = new
    return bytes(content)


@contextlib.contextmanager
def in_little_memory():
    """What Python and NumPy allocate within, at its peak; hypothesis itself is not slowed by it."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def is_refused_or_read(read, path, content):
    """Reads a file of that content: no error but ours, in little memory and time."""
    path.write_bytes(content)
    told, started = "", time.monotonic()
    with in_little_memory():
        try:
            read(path)
        except UserError as error:
            told = str(error)
    assert "\n" not in told and len(told) < 5000
    assert time.monotonic() - started < MOST_SECONDS


def read_gguf(path):
    file = open_gguf(path)
    config = decoder_config(file)
    tokenizer_of(file)
    load_params(file, config)


def read_safetensors(path):
    with open_tensors([path]) as tensors:
        for tensor in tensors.values():
            shape = tensor.get_shape()
            assert tensor[tuple(slice(0, size) for size in shape)].shape == tuple(shape)


@functools.cache
def gguf_bytes():
    """A llama of some kilobytes, with a tokenizer of a few tokens."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"helo", "he", "ll", "hell", "hello"]
    few_tokens = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3),
        "tokenizer.chat_template": "{{ messages }}",
    }
    config = dataclasses.replace(TINY, vocab_size=12, num_layers=1, sliding_windows=(None,))
    with tempfile.TemporaryDirectory() as folder:
        path, _ = written(pathlib.Path(folder) / "tiny.gguf", config, metadata=few_tokens)
        return pathlib.Path(path).read_bytes()


def test_the_files_that_are_changed_are_good_ones(tmp_path):
    """Else everything would be refused for a reason of its own."""
    for kind, (read, original) in FORMATS.items():
        (tmp_path / f"m.{kind}").write_bytes(original())
        read(tmp_path / f"m.{kind}")


def safetensors_bytes():
    tensors = {f"model.layers.{n}.weight": np.ones((4, 3), np.float32) for n in range(3)}
    return save(tensors, {"format": "pt"})


@pytest.fixture(autouse=True)
def bounded():
    """The libraries below Python must not take memory either: the process' peak hardly grows."""
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < 256 << 20


FORMATS = {
    "gguf": (read_gguf, gguf_bytes),
    "safetensors": (read_safetensors, safetensors_bytes),
}
few = settings(max_examples=150, deadline=None)
many = settings(few, max_examples=5000)  # of each format: 10,000 in all


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_changed_anywhere_is_read_or_refused(kind, tmp_path):
    read, original = FORMATS[kind]

    @few
    @given(changes)
    def check(list_of_changes):
        is_refused_or_read(read, tmp_path / f"m.{kind}", changed(original(), list_of_changes))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_thousands_of_changed_files_are_read_or_refused(kind, tmp_path):
    read, original = FORMATS[kind]

    @many
    @given(changes)
    def check(list_of_changes):
        is_refused_or_read(read, tmp_path / f"m.{kind}", changed(original(), list_of_changes))

    check()


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_that_are_no_file_at_all_are_refused(kind, tmp_path):
    read, original = FORMATS[kind]

    @few
    @given(st.binary(max_size=200), st.booleans())
    def check(content, begins_well):
        content = original()[:8] + content if begins_well else content
        is_refused_or_read(read, tmp_path / f"m.{kind}", content)

    check()


def test_a_gguf_of_more_layers_than_tensors_is_refused_before_any_is_made(tmp_path):
    """The name of a last layer alone must not make room for all before it."""
    layers = 10**8
    path, _ = written(
        tmp_path / "m.gguf",
        metadata={"llama.block_count": layers},
        tensors={f"blk.{layers - 1}.attn_q.weight": np.zeros((64, 32), np.float32)},
    )
    with in_little_memory(), pytest.raises(UserError, match="block_count"):
        decoder_config(open_gguf(path))


def test_a_tokenizer_of_one_endless_token_is_refused(tmp_path):
    """Its merges would be looked up at each of its places."""
    one = {"tokenizer.ggml.tokens": ["a" * 10**6], "tokenizer.ggml.token_type": [1]}
    path, _ = written(tmp_path / "m.gguf", metadata=one)
    with pytest.raises(UserError, match="characters"):
        tokenizer_of(open_gguf(path))


@pytest.mark.parametrize("length", [0, 7, 8, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_safetensors_header_that_lies_about_its_length_is_refused(length, tmp_path):
    path = tmp_path / "m.safetensors"
    content = struct.pack("<Q", length) + safetensors_bytes()[8:]
    path.write_bytes(content)
    with in_little_memory(), pytest.raises(UserError, match="damaged"), open_tensors([path]):
        pass


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    ],
)
def test_a_safetensors_tensor_that_lies_about_its_size_is_refused(tensor, tmp_path):
    header = json.dumps({"w": tensor}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError, match="damaged"), open_tensors([path]):
        pass


values = st.one_of(
    st.sampled_from([*LIES, -1, 10**400, float("inf"), float("nan"), 1e-320, "", "silu", [], {}]),
    st.lists(st.sampled_from(["full_attention", {}, [], 1])),
    st.dictionaries(st.sampled_from(["rope_type", "factor", "type"]), st.integers()),
    st.none(),
    st.booleans(),
)


@few
@given(st.dictionaries(st.sampled_from(sorted(hf_config_dict(TINY))), values, min_size=1))
def test_a_config_of_any_values_is_a_decoder_or_refused(tampered):
    try:
        config = hf_decoder_config(hf_config_dict(TINY) | tampered, "config.json")
    except UserError:
        return
    assert config.num_layers <= 10_000


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"model_type": ["llama"]}', "7"])
def test_a_config_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b", "..", "", 7, None])
def test_an_index_of_weights_names_no_file_outside_of_its_folder(name, tmp_path):
    index = {"weight_map": {"model.norm.weight": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no file of its folder"):
        weight_files(tmp_path)


def test_weights_of_another_size_than_the_config_are_refused_before_room_is_made(tmp_path):
    """A config may promise a model of a terabyte: its tensors are looked at first."""
    config = hf_config_dict(TINY) | {"hidden_size": 2**20, "head_dim": 2**18}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {
        name: np.zeros([1] * len(parameter.tensor_shape), np.float32)
        for parameter in named_parameters(TINY)
        for name in parameter.tensors
    }
    (tmp_path / "model.safetensors").write_bytes(save(tensors))
    with pytest.raises(UserError, match=re.escape("has shape")):
        load_folder(tmp_path, read_config(tmp_path))
