r"""White space as a tokenizer cuts it, so that a grammar does not let a model cut it otherwise.

A tokenizer writes a text in one way, and a model learns from that. Under a grammar it may be left
with another: where it would go on with a blank line, which the grammar forbids, it draws "\n" and
then "    ", in place of "\n   " and " return". It has never seen such tokens, what it goes on with
is poor, and whoever reads the text again reads others than were drawn.
"""

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
from transformers import PreTrainedTokenizerBase

WHITE = b" \t\r\n"
BEFORE = "a"  # stands before the white space that is tried


def followers(
    tokenizer: PreTrainedTokenizerBase, pieces: Mapping[int, bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens may come after each, where one of the two is white space.

    A token is tried by its beginning alone: its white space and the character after that.

    Args:
        tokenizer: cuts text.
        pieces: the bytes of A tokens by id.

    Returns:
        int [A], which class a token is of, 0 for those that any may follow; and bool [K, A], which
        of them may follow one of each class.
    """
    begun = list(map(_beginning, pieces.values()))
    beginnings = sorted({text for text in begun if text is not None})
    place = {text: index for index, text in enumerate(beginnings)}
    # What is no character yet may follow anything.
    column_A = [len(beginnings) if text is None else place[text] for text in begun]

    def cut(texts: list[str]) -> list[list[int]]:
        found = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    classes = {bytes([True]) * (len(beginnings) + 1): 0}
    class_A = np.zeros(len(pieces), int)
    (before,) = cut([BEFORE])
    for index, (token, piece) in enumerate(pieces.items()):
        if piece.strip(WHITE):
            continue
        found = cut([BEFORE + piece.decode() + text for text in beginnings])
        wanted = [*before, token]
        kept = [written[: len(wanted)] == wanted for written in found]
        if any(kept):  # else the tokenizer does not write it, whatever follows
            class_A[index] = classes.setdefault(bytes([*kept, True]), len(classes))
    # A line's end may be one token with what stands before it.
    joined = bytes([*(text[:1] not in ("\r", "\n") for text in beginnings), True])
    for index in _joined_with_the_end_of_a_line(pieces, cut):
        class_A[index] = classes.setdefault(joined, len(classes))
    may_KxU = np.array([list(row) for row in classes], bool)
    return class_A, may_KxU[:, column_A]


def followed(
    table_SxA: np.ndarray, accepting_S: np.ndarray, class_A: np.ndarray, may_KxA: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An automaton in which a token follows white space only where it may.

    Args:
        table_SxA: the state after each token, -1 where it is forbidden; 0 is the first.
        accepting_S: where a text may end.
        class_A: of `followers`.
        may_KxA: of `followers`.

    Returns:
        The same of the other automaton, its states those that are reached from the first.
    """
    K = len(may_KxA)
    # In a state that forbids as much after the one as after the other, classes are one.
    alike_SxK = np.array([_first_alike(may_KxA[:, next_A >= 0]) for next_A in table_SxA])
    seen, queue, rows = {0}, [0], []
    for pair in queue:
        state, last = divmod(pair, K)
        next_A = np.where(may_KxA[last], table_SxA[state], -1)
        pair_A = np.where(next_A < 0, -1, next_A * K + alike_SxK[next_A, class_A])
        for found in np.unique(pair_A).tolist():
            if found >= 0 and found not in seen:
                seen.add(found)
                queue.append(found)
        rows.append(pair_A)
    new_of_old = np.full(len(table_SxA) * K + 1, -1, np.int32)
    new_of_old[queue] = np.arange(len(queue))
    return new_of_old[np.stack(rows)], accepting_S[[pair // K for pair in queue]]


def _joined_with_the_end_of_a_line(
    pieces: Mapping[int, bytes], cut: Callable[[list[str]], list[list[int]]]
) -> list[int]:
    """Places of the tokens that a tokenizer writes, but not before the end of a line."""
    texts = {}
    for index, (token, piece) in enumerate(pieces.items()):
        with contextlib.suppress(UnicodeDecodeError):
            if piece.strip(WHITE):
                texts[index] = token, piece.decode()
    alone, ended = (cut([text + end for _, text in texts.values()]) for end in ("", "\n"))
    return [
        index
        for (index, (token, _)), one, other in zip(texts.items(), alone, ended, strict=True)
        if one == [token] != other[:1]
    ]


def _first_alike(may_KxA: np.ndarray) -> list[int]:
    """For each class the first that is like it."""
    first: dict[bytes, int] = {}
    return [first.setdefault(row.tobytes(), k) for k, row in enumerate(np.packbits(may_KxA, 1))]


def _beginning(piece: bytes) -> str | None:
    """The white space that a token begins with and one character; None where that is none yet."""
    rest = piece.lstrip(WHITE)
    white = piece[: len(piece) - len(rest)].decode()
    for length in range(1, 5):
        try:
            character = rest[:length].decode()
        except UnicodeDecodeError:
            continue
        # White space goes by what kind of character follows; there are too many to try them all.
        return white + (character if character.isascii() else "é" if character.isalpha() else "→")
    return None
