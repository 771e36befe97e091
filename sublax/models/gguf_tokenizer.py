"""The tokenizer that a GGUF file describes in its metadata, as one of `transformers`.

Byte-level BPE (`tokenizer.ggml.model` = gpt2) splits text first by rules that the file only
names; the rules stand here by that name. SentencePiece BPE (`llama`) needs none.
"""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from sublax.errors import UserError
from sublax.models.gguf_file import GGUFFile

# Of a token, in characters; every place in each is a merge to be looked up.
_LONGEST = 4096
# The numbers of `gguf.TokenType`.
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
_ROLES = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"
# `tokenizer.ggml.pre` -> the patterns that split the text, one after the other.
_SPLITS = {
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
_SPLITS |= {"llama3": _SPLITS["llama-bpe"], "llama-v3": _SPLITS["llama-bpe"]}
_SPLITS |= {"deepseek-r1-qwen": _SPLITS["qwen2"]}


def tokenizer_of(file: GGUFFile) -> PreTrainedTokenizerFast:
    """Rebuilds a file's tokenizer, its special tokens and its chat template.

    Raises:
        UserError: no tokenizer there, one of a kind or with a pre-tokenizer that is not
            implemented, or ids that have no token.
    """
    try:
        return _built(file)
    except UserError:
        raise
    except Exception as error:  # tokenizers raises bare exceptions
        raise UserError(
            f"{file.path}: its tokenizer cannot be built ({error}): fetch the file again"
        ) from error


def _built(file: GGUFFile) -> PreTrainedTokenizerFast:
    metadata = file.metadata
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise UserError(
            f"{file.path}: tokenizer model {kind!r} is not implemented: use a file of gpt2 or llama"
        )
    tokens = _list(file, "tokenizer.ggml.tokens", str)
    types = _list(file, "tokenizer.ggml.token_type", int, len(tokens))
    rows = file.tensors["token_embd.weight"].shape[0]
    if len(tokens) > rows or len(set(tokens)) < len(tokens):
        raise UserError(
            f"{file.path}: tokenizer.ggml.tokens has {len(tokens)} entries, {len(set(tokens))} of "
            f"them different, for {rows} rows of token_embd.weight: fetch the file again"
        )
    if any(len(token) > _LONGEST for token in tokens):
        raise UserError(
            f"{file.path}: tokenizer.ggml.tokens has one of more than {_LONGEST} characters: "
            "use another file"
        )
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str | None):
        raise UserError(f"{file.path}: tokenizer.chat_template is no text: fetch the file again")
    roles = {role: _token(file, key, tokens) for role, key in _ROLES.items() if key in metadata}
    build = _byte_level if kind == "gpt2" else _sentencepiece
    tokenizer = build(file, tokens, types)
    tokenizer.add_tokens(
        [
            AddedToken(token, special=number == _CONTROL, normalized=False)
            for token, number in zip(tokens, types, strict=True)
            if number in (_CONTROL, _USER_DEFINED)
        ]
    )
    tokenizer.post_processor = _ends(file, kind, roles, tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **roles,
    )


def _byte_level(file: GGUFFile, tokens: list[str], types: list[int]) -> Tokenizer:
    name = file.metadata.get("tokenizer.ggml.pre")
    if name not in _SPLITS:
        raise UserError(
            f"{file.path}: pre-tokenizer (tokenizer.ggml.pre) {name!r} is not implemented: "
            f"use one of {', '.join(_SPLITS)}"
        )
    merges = [tuple(line.split(" ")) for line in _list(file, "tokenizer.ggml.merges", str)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for pair in merges:
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise UserError(
                f"{file.path}: tokenizer.ggml.merges has {' '.join(pair)!r}, which makes no token: "
                "fetch the file again"
            )
    # Llama 3 keeps a word that is a token whole, though no merges lead to it.
    whole_words = _SPLITS[name] == _SPLITS["llama-bpe"]
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=whole_words))
    if _SPLITS[name] == _SPLITS["qwen2"]:
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _SPLITS[name]]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GGUFFile, tokens: list[str], types: list[int]) -> Tokenizer:
    """SentencePiece's BPE: the neighbours that make the best-scored piece merge first."""
    scores = _list(file, "tokenizer.ggml.scores", float, len(tokens))
    if types.count(_UNKNOWN) != 1 or types.count(_BYTE) != 256:
        raise UserError(
            f"{file.path}: tokenizer.ggml.token_type must mark one unknown token and 256 bytes: "
            "use another file"
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ranked = []
    for token, number, score in zip(tokens, types, scores, strict=True):
        if number in (_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE):
            continue
        pairs = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        ranked += [(-score, pair) for pair in pairs if vocabulary.keys() >= set(pair)]
    merges = [pair for _, pair in sorted(ranked, key=lambda entry: entry[0])]
    unknown = tokens[types.index(_UNKNOWN)]
    model = BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    prefixed = file.metadata.get("tokenizer.ggml.add_space_prefix", True)
    prepend = [normalizers.Prepend("▁")] if prefixed else []
    strip = [decoders.Strip(" ", 1, 0)] if prefixed else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _ends(file: GGUFFile, kind: str, roles: dict[str, str], tokens: list[str]):
    """What stands around every text: bos and eos where the file asks for them."""
    llama3 = file.metadata.get("tokenizer.ggml.pre") in ("llama-bpe", "llama3", "llama-v3")
    around: list[list[str]] = []
    for role, by_default in (("bos", kind == "llama" or llama3), ("eos", False)):
        wanted = file.metadata.get(f"tokenizer.ggml.add_{role}_token", by_default)
        token = roles.get(f"{role}_token")
        around.append([token] if wanted and token is not None else [])
        if wanted and token is None:
            raise UserError(
                f"{file.path}: asks for a {role} token and has no tokenizer.ggml.{role}_token_id: "
                "fetch the file again"
            )
    before, after = around
    special = [(token, tokens.index(token)) for token in {*before, *after}]
    single = [*before, "$A", *after]
    return TemplateProcessing(single=single, special_tokens=special) if special else None


def _token(file: GGUFFile, key: str, tokens: list[str]) -> str:
    index = file.metadata[key]
    if type(index) is not int or not 0 <= index < len(tokens):
        raise UserError(f"{file.path}: {key} is {index!r}, no token: fetch the file again")
    return tokens[index]


def _list(file: GGUFFile, key: str, entry: type, length: int | None = None) -> list[Any]:
    found = file.metadata.get(key)
    if not isinstance(found, list) or not all(type(item) is entry for item in found):
        raise UserError(f"{file.path}: has no list {key}: use a file with its tokenizer")
    if length is not None and len(found) != length:
        raise UserError(
            f"{file.path}: {key} has {len(found)} entries for {length} tokens: fetch it again"
        )
    return found
