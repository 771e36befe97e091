"""Tokenizers out of GGUF metadata: the same tokens as the tokenizer that went in."""

import itertools
import json

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_models import smollm2  # noqa: F401
from real_tokenizers import llama3_tokenizer, qwen3_tokenizer
from tiny_gguf import tokenizer_metadata, write_gguf
from tokenizers import pre_tokenizers

from sublax.errors import UserError
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of

Type = gguf.TokenType
TEXTS = [
    "Hello, world! It's 2024; 12345 owls don't hoot.",
    "  two spaces\n\nlines \t tabs\r\n",
    "1, 23, 456",
    "é e\u0301 ｆｕｌｌ 日本語 🦉 ½ ５",
    "I'LL we'Ve x='y'",
    "<|im_start|>user\nHi<|im_end|>",
]


def built(path, metadata, rows=400):
    """The tokenizer of a file with nothing but one and an embedding."""
    write_gguf(path, "llama", metadata, {"token_embd.weight": np.zeros((rows, 1), np.float32)})
    return tokenizer_of(open_gguf(path))


def as_gguf(tokenizer, pre):
    """A byte-level tokenizer's metadata, as llama.cpp's converter writes it."""
    parsed = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["id"]: token for token in parsed["added_tokens"]}
    by_id = {index: token for token, index in parsed["model"]["vocab"].items()}
    by_id |= {index: token["content"] for index, token in added.items()}
    types = [Type.NORMAL] * len(by_id)
    for index, token in added.items():
        types[index] = Type.CONTROL if token["special"] else Type.USER_DEFINED
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [by_id[index] for index in range(len(by_id))],
        "tokenizer.ggml.token_type": [int(number) for number in types],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in parsed["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.chat_template": tokenizer.chat_template,
    } | ({} if not tokenizer.bos_token else {"tokenizer.ggml.bos_token_id": tokenizer.bos_token_id})


@pytest.mark.parametrize(
    ("load", "pre"),
    [(qwen3_tokenizer, "qwen2"), (llama3_tokenizer, "llama-bpe")],
    ids=["qwen", "llama"],
)
def test_a_real_tokenizer_comes_back_out_of_metadata(tmp_path, load, pre):
    original = load()
    rebuilt = built(tmp_path / "m.gguf", as_gguf(original, pre), rows=200_000)
    for text in TEXTS:
        assert rebuilt(text)["input_ids"] == original(text)["input_ids"]
        ids = rebuilt(text, add_special_tokens=False)["input_ids"]
        assert rebuilt.decode(ids) == original.decode(ids)
    messages = [{"role": "user", "content": TEXTS[0]}]
    options = {"tokenize": False, "date_string": "today", "add_generation_prompt": True}
    prompt = original.apply_chat_template(messages, **options)
    assert rebuilt.apply_chat_template(messages, **options) == prompt


def test_smollm2_splits_digits_one_by_one_and_then_as_gpt2(tmp_path):
    """As the model's own `tokenizer.json` says it, in other parts of the same library."""
    tokenizer = built(tmp_path / "m.gguf", tokenizer_metadata("smollm"))
    published = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    rebuilt = tokenizer.backend_tokenizer.pre_tokenizer
    for text in TEXTS:
        expected = [piece for piece, _ in published.pre_tokenize_str(text)]
        assert [piece for piece, _ in rebuilt.pre_tokenize_str(text)] == expected


@given(text=st.text())
def test_any_text_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "round-trip.gguf"
    tokenizer = built(path, tokenizer_metadata("smollm"))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_merges_and_special_tokens(tmp_path):
    tokenizer = built(tmp_path / "m.gguf", tokenizer_metadata("smollm"))
    ids = tokenizer("<|im_start|>hello hell<|im_end|>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("<|im_start|>", "hello", "Ġ", "hell", "<|im_end|>")
    ]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "hello hell"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")


def test_bos_and_eos_stand_around_a_text_where_the_file_says_so(tmp_path):
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    tokenizer = built(tmp_path / "m.gguf", tokenizer_metadata("smollm") | both)
    assert tokenizer("h")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer("h")["input_ids"][-1] == tokenizer.eos_token_id
    assert len(tokenizer("h", add_special_tokens=False)["input_ids"]) == 1


PIECES = {"▁": -9, "o": -3, "w": -4, "l": -2, "ow": -1, "wl": -0.5, "▁o": -6, "owl": -7, "▁owl": -8}


def sentencepiece_metadata():
    """Bytes and a few scored pieces."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    types = [Type.UNKNOWN, Type.CONTROL, Type.CONTROL, *[Type.BYTE] * 256]
    types += [Type.NORMAL] * len(PIECES)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [float(score) for score in PIECES.values()],
        "tokenizer.ggml.token_type": [int(number) for number in types],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def best_score_first(text):
    """SentencePiece's BPE in its own terms: the best-scored neighbours merge, leftmost first."""
    pieces = list("▁" + text.replace(" ", "▁"))
    while True:
        joined = ["".join(pair) for pair in itertools.pairwise(pieces)]
        scored = [(-PIECES[piece], at) for at, piece in enumerate(joined) if piece in PIECES]
        if not scored:
            break
        _, at = min(scored)
        pieces[at : at + 2] = [joined[at]]
    spelled = []
    for piece in pieces:
        in_bytes = [f"<0x{byte:02X}>" for byte in piece.encode()]
        spelled += [piece] if piece in PIECES else in_bytes
    return spelled


@given(text=st.text("owl é🦉", max_size=12))
def test_sentencepiece_merges_the_best_score_first(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "sentencepiece.gguf"
    tokenizer = built(path, sentencepiece_metadata())
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    if text:
        assert tokenizer.convert_ids_to_tokens(ids[1:]) == best_score_first(text)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.pre": "falcon"}, "pre-tokenizer .* 'falcon' is not implemented: use one"),
        ({"tokenizer.ggml.pre": None}, "pre-tokenizer .* None is not implemented"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer model 'bert' is not implemented"),
        ({"tokenizer.ggml.merges": ["h owl"]}, "has 'h owl', which makes no token"),
        ({"tokenizer.ggml.merges": None}, "has no list tokenizer.ggml.merges"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "has 2 entries for 263 tokens"),
        ({"tokenizer.ggml.eos_token_id": 900}, "tokenizer.ggml.eos_token_id is 900, no token"),
        ({"tokenizer.ggml.tokens": ["a"] * 500}, "has 500 entries, 1 of them different, for 400"),
    ],
)
def test_says_what_cannot_be_rebuilt(tmp_path, change, message):
    metadata = tokenizer_metadata() | change
    if len(metadata["tokenizer.ggml.tokens"]) == 500:
        metadata["tokenizer.ggml.token_type"] = [1] * 500
    metadata = {key: value for key, value in metadata.items() if value is not None}
    with pytest.raises(UserError, match=message):
        built(tmp_path / "m.gguf", metadata)


def test_smollm2_as_published(smollm2):  # noqa: F811
    tokenizer = smollm2.tokenizer
    assert len(tokenizer) == smollm2.config.vocab_size == 49152
    ids = tokenizer("12 owls")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["1", "2", "Ġowls"]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
