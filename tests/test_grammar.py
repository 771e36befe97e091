"""Token automata against Python's `re`: what they write, what they accept, what they refuse."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sublax.errors import UserError
from sublax.sampling.grammar import choice_regex, compile_grammar, grammar_accepts
from sublax.sampling.token_bytes import token_bytes

NUMBERS = r"[0-9]{1,3}(, [0-9]{1,3}){0,9}\.?|\[[0-9]{1,3}(;[0-9]{1,3}){0,9}\]"
STOP = "<|end|>"


@pytest.fixture(scope="module")
def byte_level():
    """A byte-level BPE with tokens across digits, separators and letters, and all 256 bytes."""
    text = ["12, 345, 6; 78;90 owls and wolves, naïve café", "100, 200, 300 owl owl cat 12;34"] * 4
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens([AddedToken(STOP, special=True)])
    bpe.add_tokens([AddedToken("wolf pack", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=STOP)


@pytest.fixture(scope="module")
def sentencepiece():
    """The alphabet of SentencePiece: "▁" for the space, `<0xXX>` for bytes; é only in bytes."""
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"0123456789,caf", "▁", "▁1", "2,", "▁12"]
    merges = [("▁", "1"), ("2", ","), ("▁1", "2")]
    bpe = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", unk_token="<unk>")


def walk(grammar, rng: random.Random) -> list[int]:
    """A random answer: any allowed token in every state, until the end."""
    table, tokens = np.asarray(grammar.next_state_SxA), np.asarray(grammar.tokens_A)
    state, answer = grammar.start, []
    while state != len(table) - 1:
        column = rng.choice(np.flatnonzero(table[state] >= 0).tolist())
        answer.append(int(tokens[column]))
        state = int(table[state, column])
    return answer


def accepts(grammar, tokenizer, text: str) -> bool:
    ids = tokenizer.encode(text, add_special_tokens=False)
    return grammar_accepts(grammar, [*ids, tokenizer.eos_token_id])


def written(tokenizer, answer: list[int]) -> str:
    return tokenizer.decode(answer[:-1], clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("regex", [NUMBERS, "owl|wolf|wolves", "a|ab|abc", "[à-ÿ]{1,3}|x*"])
def test_every_walk_writes_a_match(byte_level, regex):
    grammar = compile_grammar(regex, byte_level, [byte_level.eos_token_id])
    rng = random.Random(0)
    texts = {written(byte_level, walk(grammar, rng)) for _ in range(300)}
    assert all(re.fullmatch(regex, text) for text in texts)
    assert len(texts) > 2


@settings(max_examples=60, deadline=None)
@given(text=st.from_regex(NUMBERS, fullmatch=True))
def test_every_match_is_accepted_as_the_tokenizer_writes_it(byte_level, numbers_grammar, text):
    assert accepts(numbers_grammar, byte_level, text)


@pytest.fixture(scope="module")
def numbers_grammar(byte_level):
    return compile_grammar(NUMBERS, byte_level, [byte_level.eos_token_id])


@settings(max_examples=200, deadline=None)
@given(text=st.text("0123, .;[]", max_size=14))
def test_accepts_exactly_what_re_accepts(byte_level, numbers_grammar, text):
    assert accepts(numbers_grammar, byte_level, text) == bool(re.fullmatch(NUMBERS, text))


@pytest.mark.parametrize(
    "regex",
    ["a|ab", "(a|ab)(c|bcd)", "a*?", "a??b?", "", "(owl|owls)?", "o+w", "é|è", "[^a]", "(?i)owl"],
)
@pytest.mark.parametrize("text", ["", "a", "ab", "abc", "abcd", "owl", "OwL", "owls", "é", "oow"])
def test_the_order_of_alternatives_and_greed_do_not_matter(byte_level, regex, text):
    grammar = compile_grammar(regex, byte_level, [byte_level.eos_token_id])
    assert accepts(grammar, byte_level, text) == bool(re.fullmatch(regex, text))


def test_every_way_of_writing_a_text_is_allowed(byte_level):
    """The space by itself or joined to its neighbour: both write the same text."""
    grammar = compile_grammar("1, 2", byte_level, [byte_level.eos_token_id])
    vocabulary = byte_level.get_vocab()
    one, comma, space, two, stop = (vocabulary[piece] for piece in ["1", ",", "Ġ", "2", STOP])
    assert grammar_accepts(grammar, [one, comma, space, two, stop])
    assert grammar_accepts(grammar, [one, vocabulary[",Ġ"], two, stop])
    assert not grammar_accepts(grammar, [one, comma, space, two])
    assert not grammar_accepts(grammar, [one, comma, space, two, stop, stop])


def test_added_tokens_are_not_text(byte_level):
    """The added token would fit the grammar, but the model never learnt it as text."""
    grammar = compile_grammar("wolf pack", byte_level, [byte_level.eos_token_id])
    added = byte_level.convert_tokens_to_ids("wolf pack")
    assert added not in grammar.tokens_A
    assert added not in token_bytes(byte_level)
    letters = [byte_level.get_vocab()[c] for c in "wolfĠpack"]
    assert grammar_accepts(grammar, [*letters, byte_level.eos_token_id])


def test_stop_is_allowed_exactly_where_the_text_is_whole(byte_level):
    vocabulary = byte_level.get_vocab()
    grammar = compile_grammar("a|abc", byte_level, [vocabulary[STOP], vocabulary["!"]])
    stops = np.isin(grammar.tokens_A, [vocabulary[STOP], vocabulary["!"]])
    assert stops.sum() == 2
    state, whole = grammar.start, []
    for letter in "abc":
        whole.append(bool((grammar.next_state_SxA[state, stops] >= 0).all()))
        state = grammar.next_state_SxA[state, list(grammar.tokens_A).index(vocabulary[letter])]
    whole.append(bool((grammar.next_state_SxA[state, stops] >= 0).all()))
    assert whole == [False, True, False, True]


def test_every_state_has_a_way_to_the_end(numbers_grammar):
    table = numbers_grammar.next_state_SxA
    end = len(table) - 1
    reaches = np.arange(len(table)) == end
    for _ in range(len(table)):
        reaches |= (reaches[table] & (table >= 0)).any(axis=1)
    assert reaches.all()


def test_a_finished_row_stays_finished(numbers_grammar):
    """A row that ended inside a batch still draws: its stop tokens, and nothing else."""
    end = len(numbers_grammar.next_state_SxA) - 1
    allowed = numbers_grammar.next_state_SxA[end]
    assert set(allowed[allowed >= 0]) == {end}
    assert (allowed >= 0).sum() == 1


def test_several_ids_may_write_the_same_bytes():
    """GPT-2's alphabet has one spelling per byte string; SentencePiece has "a" and <0x61>."""
    vocabulary = {"a": 0, "<0x61>": 1, "</s>": 2}
    bpe = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")
    grammar = compile_grammar("aa", tokenizer, [2])
    assert all(grammar_accepts(grammar, [i, j, 2]) for i in (0, 1) for j in (0, 1))


def test_sentencepiece_spaces_and_bytes(sentencepiece):
    regex = "(café|12)(, 12){0,2}"
    grammar = compile_grammar(regex, sentencepiece, [sentencepiece.eos_token_id])
    rng = random.Random(0)
    texts = {written(sentencepiece, walk(grammar, rng)) for _ in range(100)}
    assert texts == {f"{head}{', 12' * n}" for head in ("café", "12") for n in range(3)}
    assert all(accepts(grammar, sentencepiece, text) for text in texts)


def test_columns_ascend_and_states_are_numbered_as_they_are_found(numbers_grammar):
    """So the arrays do not hang on the numbers that the regular expression library gives out."""
    assert (np.diff(numbers_grammar.tokens_A) > 0).all()
    assert numbers_grammar.tokens_A.dtype == numbers_grammar.next_state_SxA.dtype == np.int32
    end = len(numbers_grammar.next_state_SxA) - 1
    found = numbers_grammar.next_state_SxA.ravel()
    found = dict.fromkeys(found[(found >= 0) & (found != end)].tolist())
    assert list(found) == list(range(1, end))


def test_choices_are_literal(byte_level):
    words = ["owl", "c.t", "a|b", "two words", "(x)"]
    grammar = compile_grammar(choice_regex(words), byte_level, [byte_level.eos_token_id])
    rng = random.Random(0)
    assert {written(byte_level, walk(grammar, rng)) for _ in range(300)} == set(words)


@pytest.mark.parametrize(
    ("regex", "says"),
    [
        ("(a", "unterminated subpattern"),
        ("(?=a)a", "look-around"),
        (r"(a)\1", "look-around"),
        (r"\bowl\b", r"\\b"),
        ("[[a]]", "nested set"),
        (r"[^\s\S]", "matches no text"),
        ("^a", "anchors"),
        ("\ud800", "surrogates"),
    ],
)
def test_what_has_no_automaton_is_refused(byte_level, regex, says):
    with pytest.raises(UserError, match=says) as caught:
        compile_grammar(regex, byte_level, [byte_level.eos_token_id])
    assert "\n" not in str(caught.value)


def test_what_the_vocabulary_cannot_write_is_refused():
    without_bytes = Tokenizer(models.BPE({"a": 0, "▁": 1, "</s>": 2}, []))
    without_bytes.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=without_bytes, eos_token="</s>")
    with pytest.raises(UserError, match=r"no token has b'12'"):
        compile_grammar("a[12]a", tokenizer, [2])
    # What it can write of an expression remains.
    assert grammar_accepts(compile_grammar("a[12]a|a a", tokenizer, [2]), [0, 1, 0, 2])


@pytest.mark.parametrize("stop_ids", [[], [-1], [10**6]])
def test_stop_tokens_are_checked(byte_level, stop_ids):
    with pytest.raises(UserError, match="stop tokens"):
        compile_grammar("a", byte_level, stop_ids)


def test_other_alphabets_are_refused():
    word_piece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"))
    word_piece.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_piece, unk_token="[UNK]")
    with pytest.raises(UserError, match="byte-level"):
        compile_grammar("a", tokenizer, [0])


@pytest.mark.parametrize("words", [[], ["owl", ""]])
def test_choices_need_words(words):
    with pytest.raises(UserError, match="choices"):
        choice_regex(words)
