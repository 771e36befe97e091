"""A regular expression as an automaton over a tokenizer's own tokens, in arrays."""

import re
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from flax import struct
from outlines_core import Index, Vocabulary
from transformers import PreTrainedTokenizerBase

from sublax.errors import UserError
from sublax.sampling.token_bytes import token_bytes
from sublax.sampling.whitespace import followed, followers


@struct.dataclass
class Grammar:
    """Which tokens may follow, state by state (Willard and Louf 2023, section 3).

    The last state is the end. Only a stop token leads there, only stop tokens follow, and they
    stay, so that a finished row of a batch always has a token to draw.

    Attributes:
      tokens_A: int32, ascending vocabulary ids of the tokens that may occur anywhere, stop
        tokens included. Every other token is forbidden in every state.
      next_state_SxA: int32, the state after each token; -1 where it is forbidden. Every state
        has a way to the end.
      start: the state before the first token.
    """

    tokens_A: np.ndarray
    next_state_SxA: np.ndarray
    start: int = struct.field(pytree_node=False, default=0)


def compile_grammar(
    regex: str, tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int]
) -> Grammar:
    r"""Builds the automaton of the texts that `re.fullmatch(regex, text)` accepts.

    A token is allowed where its bytes go on towards an accepted text that the vocabulary can
    complete, and where the tokenizer would cut white space before it so (`whitespace.py`); a stop
    token exactly where the text so far is accepted. States are numbered in
    order of discovery, breadth first by ascending token id: equal inputs give equal arrays.

    Args:
      regex: a regular expression that Python's `re` and Rust's `regex` both read. Both match the
        whole text whatever the order of the alternatives. Look-around, back-references, anchors
        and `\b` have no automaton here; `\w` and `\s` beyond ASCII are Rust's.
      tokenizer: a `transformers` tokenizer backed by the `tokenizers` library.
      stop_ids: vocabulary ids of the tokens that end an answer.

    Raises:
      UserError: no stop token, an id outside the vocabulary, an expression that cannot be read
        or matches nothing, or one of which this vocabulary cannot write a single text.
    """
    vocabulary_size = len(tokenizer)
    if not stop_ids or not all(0 <= index < vocabulary_size for index in stop_ids):
        raise UserError(
            f"grammar: stop tokens {list(stop_ids)} must be one or more ids below "
            f"{vocabulary_size}, the size of the tokenizer's vocabulary"
        )
    byte_table_SxB, accepting_S = _byte_automaton(regex)
    used = bytes(np.flatnonzero((byte_table_SxB >= 0).any(axis=0)).tolist())
    pieces = {
        index: piece
        for index, piece in token_bytes(tokenizer).items()
        if index not in stop_ids and not piece.translate(None, used)
    }
    token_table_SxA = _walk(byte_table_SxB, pieces.values())
    alive_S = _reaching(token_table_SxA, accepting_S)
    if not alive_S[0]:
        missing = sorted(set(used) - set(b"".join(pieces.values())))
        lacking = f" (no token has {bytes(missing)!r})" if missing else ""
        raise UserError(
            f"grammar {_shown(regex)}: this tokenizer's vocabulary cannot write any text that it "
            f"matches{lacking}; use only characters that the tokenizer knows"
        )
    token_table_SxA[~alive_S[token_table_SxA]] = -1
    as_cut_SxA, as_cut_accepting_S = followed(
        token_table_SxA, accepting_S, *followers(tokenizer, pieces)
    )
    alive_S = _reaching(as_cut_SxA, as_cut_accepting_S)
    if alive_S[0]:
        as_cut_SxA[~alive_S[as_cut_SxA]] = -1
        token_table_SxA, accepting_S = as_cut_SxA, as_cut_accepting_S
    return _number(token_table_SxA, accepting_S, list(pieces), sorted(set(stop_ids)))


def choice_regex(words: Iterable[str]) -> str:
    """A regular expression that matches each of the words, letter by letter, and nothing else.

    Raises:
      UserError: there are no words, or one of them is empty.
    """
    words = list(words)
    if not words or not all(words):
        raise UserError(f"choices {words}: there must be at least one word, and none empty")
    return "|".join(re.escape(word) for word in words)


def grammar_accepts(grammar: Grammar, token_ids: Sequence[int]) -> bool:
    """Whether the tokens, closing stop token included, are a whole answer of the grammar."""
    return _after(grammar, token_ids) == len(grammar.next_state_SxA) - 1


def grammar_begins(grammar: Grammar, token_ids: Sequence[int]) -> bool:
    """Whether an answer of the grammar begins with the tokens, or is them."""
    return _after(grammar, token_ids) is not None


def _after(grammar: Grammar, token_ids: Sequence[int]) -> int | None:
    """The state after the tokens; None where the grammar does not let them be written."""
    tokens_A = np.asarray(grammar.tokens_A)
    next_state_SxA = np.asarray(grammar.next_state_SxA)
    end = len(next_state_SxA) - 1
    state = int(grammar.start)
    for token in token_ids:
        column = int(np.searchsorted(tokens_A, token))
        if state == end or column == len(tokens_A) or tokens_A[column] != token:
            return None
        state = int(next_state_SxA[state, column])
        if state < 0:
            return None
    return state


def _byte_automaton(regex: str) -> tuple[np.ndarray, np.ndarray]:
    """The expression over bytes: next state [S, 256], -1 for none, and accepting [S]; start 0."""
    try:
        with warnings.catch_warnings():
            # Python warns of sets within sets, which Rust reads in another way than Python.
            warnings.simplefilter("error", FutureWarning)
            re.compile(regex)
    except (re.error, FutureWarning) as error:
        raise UserError(f"grammar {_shown(regex)}: {error}; mend the expression") from error
    stop = 256
    every_byte = Vocabulary(stop, {bytes([byte]): [byte] for byte in range(256)})
    try:
        # Rust's leftmost-first search drops what follows the first alternative that matches
        # ("a|ab" never takes the b) unless every alternative must reach the end of the text. The
        # byte in front, taken off below, is for texts that may be empty: the index allows no
        # look-around, such as the end, at its start.
        index = Index(rf"\x00(?:{regex})\z", every_byte)
    except (ValueError, UnicodeEncodeError) as error:
        reason = " ".join(str(error).split())
        if "incompatible with the regex" in reason:
            reason = "it matches no text at all"
        raise UserError(
            f"grammar {_shown(regex)}: {reason}; write it without look-around, back-references, "
            "anchors, \\b and {,n}, and such that a text can match"
        ) from error
    transitions = index.get_transitions()
    start = transitions.pop(index.get_initial_state())[0]
    rank = {state: i for i, state in enumerate([start, *(transitions.keys() - {start})])}
    table_SxB = np.full((len(rank), 256), -1, np.int32)
    for state, successors in transitions.items():
        for byte in successors.keys() - {stop}:
            table_SxB[rank[state], byte] = rank.get(successors[byte], -1)
    accepting_S = np.array([index.is_final_state(state) for state in rank])
    return table_SxB, accepting_S


def _walk(byte_table_SxB: np.ndarray, pieces: Iterable[bytes]) -> np.ndarray:
    """The state [S, A] that each piece's bytes lead to from every state, -1 for none."""
    lost = np.full((1, byte_table_SxB.shape[1]), -1, np.int32)
    step_BxS = np.ascontiguousarray(np.vstack([byte_table_SxB, lost]).T)
    columns = []
    for piece in pieces:
        states_S = step_BxS[piece[0], :-1]
        for byte in piece[1:]:
            states_S = step_BxS[byte, states_S]
        columns.append(states_S)
    return np.array(columns, np.int32).reshape(-1, len(byte_table_SxB)).T.copy()


def _reaching(table_SxA: np.ndarray, accepting_S: np.ndarray) -> np.ndarray:
    """Which states [S] have a way to an accepting one; one more entry, False, for no state."""
    alive = np.append(accepting_S, False)
    while True:
        grown = np.append(accepting_S | alive[table_SxA].any(axis=1), False)
        if (grown == alive).all():
            return alive
        alive = grown


def _number(
    table_SxA: np.ndarray, accepting_S: np.ndarray, tokens: list[int], stops: list[int]
) -> Grammar:
    """Numbers what is reached from state 0 breadth first, and adds stop tokens and the end."""
    rank = {0: 0}
    for state in (queue := [0]):
        successors, places = np.unique(table_SxA[state], return_index=True)
        for successor in successors[np.argsort(places)].tolist():
            if successor >= 0 and successor not in rank:
                rank[successor] = len(rank)
                queue.append(successor)
    end = len(queue)
    new_of_old = np.full(len(table_SxA) + 1, -1, np.int32)
    new_of_old[queue] = np.arange(end)
    text_SxA = new_of_old[table_SxA[queue]]
    occurs_A = (text_SxA >= 0).any(axis=0)
    stop_S = np.append(np.where(accepting_S[queue], end, -1), end)
    text_SxA = np.vstack([text_SxA[:, occurs_A], np.full((1, occurs_A.sum()), -1)])
    next_state_SxA = np.column_stack([text_SxA, *(stop_S for _ in stops)]).astype(np.int32)
    tokens_A = np.array([*np.asarray(tokens, int)[occurs_A], *stops], np.int32)
    order = np.argsort(tokens_A)
    return Grammar(tokens_A[order], next_state_SxA[:, order])


def _shown(regex: str) -> str:
    """The expression as an error names it: on one line, and not endless."""
    return repr(regex if len(regex) <= 60 else regex[:57] + "...")
