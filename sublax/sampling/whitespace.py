r"""White space as a tokenizer cuts it, so that a grammar does not let a model cut it otherwise.

A tokenizer writes a text in one way, and a model learns from that. Under a grammar it may be left
with another: where it would go on with a blank line, which the grammar forbids, it draws "\n" and
then "    ", in place of "\n   " and " return". It has never seen such tokens, what it goes on with
is poor, and whoever reads the text again reads others than were drawn.
"""

from collections.abc import Mapping

import numpy as np
from transformers import PreTrainedTokenizerBase

WHITE = b" \t\r\n"
BEFORE = "a"  # stands before the white space that is tried


def followers(
    tokenizer: PreTrainedTokenizerBase, pieces: Mapping[int, bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens may come after each that is nothing but white space.

    A token is tried by its beginning alone: its white space and the character after that.

    Args:
        tokenizer: cuts text.
        pieces: the bytes of A tokens by id.

    Returns:
        int [A], which class a token is of, 0 for one that is not white space alone or that any may
        follow; and bool [K, A], which of them may follow one of each class.
    """
    ids, begun = list(pieces), list(map(_beginning, pieces.values()))
    beginnings = sorted({text for text in begun if text is not None})
    place = {text: index for index, text in enumerate(beginnings)}
    # What is no character yet may follow anything.
    column_A = [len(beginnings) if text is None else place[text] for text in begun]
    classes = {bytes([True]) * (len(beginnings) + 1): 0}
    class_A = np.zeros(len(ids), int)
    before = tokenizer(BEFORE, add_special_tokens=False)["input_ids"]
    for index, token in enumerate(ids):
        piece = pieces[token]
        if piece.strip(WHITE):
            continue
        texts = [BEFORE + piece.decode() + text for text in beginnings]
        found = tokenizer(texts, add_special_tokens=False)["input_ids"]
        wanted = [*before, token]
        kept = [written[: len(wanted)] == wanted for written in found]
        if any(kept):  # else the tokenizer does not write it, whatever follows
            class_A[index] = classes.setdefault(bytes([*kept, True]), len(classes))
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
    K, goes_SxA = len(may_KxA), table_SxA >= 0
    # A state that forbids nothing more after white space stays one.
    matters_SxK = goes_SxA.astype(np.float32) @ ~may_KxA.T > 0
    rank, queue, rows = {0: 0}, [0], []
    for pair in queue:
        state, last = divmod(pair, K)
        next_A = np.where(may_KxA[last], table_SxA[state], -1)
        pair_A = next_A * K + np.where(matters_SxK[next_A, class_A], class_A, 0)
        pair_A[next_A < 0] = -1
        for found in np.unique(pair_A[next_A >= 0]).tolist():
            if found not in rank:
                rank[found] = len(queue)
                queue.append(found)
        rows.append(pair_A)
    new_of_old = np.full(len(table_SxA) * K + 1, -1, np.int32)
    new_of_old[queue] = np.arange(len(queue))
    return new_of_old[np.stack(rows)], accepting_S[[pair // K for pair in queue]]


def _beginning(piece: bytes) -> str | None:
    """The white space that a token begins with and one character; None where that is none yet."""
    rest = piece.lstrip(WHITE)
    white = piece[: len(piece) - len(rest)].decode()
    for length in range(1, 5):
        try:
            return white + rest[:length].decode()
        except UnicodeDecodeError:
            continue
    return None
