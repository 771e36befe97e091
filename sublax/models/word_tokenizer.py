"""A small tokenizer made on the spot: the words of given texts, digits one by one, and all bytes.

It serves models that are made on the spot too. Its alphabet is that of byte-level BPE, so any text
can be encoded and grammars compile on it; its chat template is ChatML.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

_END_OF_TURN, _PADDING = "<|im_end|>", "<|endoftext|>"
_SPECIAL = (_PADDING, "<|im_start|>", _END_OF_TURN)
# A digit; the separator of plain number lists; a word or punctuation with a space before it.
_SPLIT = r"\p{N}|, | ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"
_CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Makes the tokenizer; the same texts in any order give the same ids.

    Args:
        texts: every word in them becomes one token, as it stands there (with or without a space
            before it). What else is to be encoded falls apart into bytes.

    Returns:
        A tokenizer that `save_pretrained` writes and `AutoTokenizer` reads.
    """
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    known = (*texts, "system\nuser\nassistant\n", ", ")
    words = {piece for text in known for piece, _ in splitter.pre_tokenize_str(text)}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*_SPECIAL, *letters, *sorted(words - set(letters))]
    # Without merges a word is either a token or bytes.
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocabulary, [], ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=_CHATML,
        clean_up_tokenization_spaces=False,
        eos_token=_END_OF_TURN,
        pad_token=_PADDING,
    )
