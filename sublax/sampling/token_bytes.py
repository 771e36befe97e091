"""Which bytes of text each token of a tokenizer writes."""

import re
from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from sublax.errors import UserError

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes]:
    """The bytes that each ordinary token adds to a text that has begun.

    Knows the two alphabets that decoders of today's models use: byte-level BPE, where every
    byte is one printable character (Radford et al. 2019, section 2.2), and SentencePiece, where
    "▁" is a space and `<0xE9>` a byte (Kudo and Richardson 2018).

    Args:
      tokenizer: a `transformers` tokenizer backed by the `tokenizers` library.

    Returns:
      Vocabulary id to bytes, in ascending order of ids. Special and added tokens are left out,
      and so are tokens that write nothing: a text in them has no end. Several ids may write the
      same bytes.

    Raises:
      UserError: the tokenizer writes text in neither alphabet.
    """
    read: Callable[[str], bytes | None]
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    # The decoder is asked, not its class: sequences of decoders do the same in many spellings.
    if decoder is not None and decoder.decode(["a", "Ġa"]) == "a a":
        read = _byte_level_reader()
    elif decoder is not None and decoder.decode(["a", "▁a"]) == "a a":
        read = _sentencepiece_reader(decoder.decode(["a", "<0xC3>", "<0xA9>"]) == "aé")
    else:
        raise UserError(
            f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}: its tokens are "
            "neither byte-level BPE nor SentencePiece pieces, so no grammar can be built on them; "
            "use a model with a fast tokenizer of one of these kinds, or sample without a grammar"
        )
    excluded = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    vocabulary = sorted((index, piece) for piece, index in tokenizer.get_vocab().items())
    written = ((index, read(piece)) for index, piece in vocabulary if index not in excluded)
    return {index: text for index, text in written if text}


def _byte_level_reader() -> Callable[[str], bytes | None]:
    """Reads a piece whose characters stand for bytes; None where one stands for no byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printable))
    byte_of = {byte: byte for byte in printable}
    byte_of |= {256 + rank: byte for rank, byte in enumerate(others)}
    # What stands for no byte is sent beyond Latin-1, where encoding fails.
    table = dict.fromkeys(others, 0x100) | byte_of

    def read(piece: str) -> bytes | None:
        try:
            return piece.translate(table).encode("latin-1")
        except UnicodeEncodeError:
            return None

    return read


def _sentencepiece_reader(byte_fallback: bool) -> Callable[[str], bytes]:
    """Reads a piece of plain text with "▁" for the space and, perhaps, `<0xE9>` for a byte."""

    def read(piece: str) -> bytes:
        match = _BYTE_PIECE.fullmatch(piece) if byte_fallback else None
        return bytes.fromhex(match[1]) if match else piece.replace("▁", " ").encode()

    return read
