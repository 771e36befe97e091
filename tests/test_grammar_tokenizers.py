"""Grammars over the tokenizers of real models: digits in threes or alone, white space as cut."""

import random
import re

import numpy as np
import pytest
from real_models import smollm2  # noqa: F401
from real_tokenizers import llama3_tokenizer, qwen3_tokenizer

from sublax.corpora.kinds import KINDS
from sublax.corpora.number_filter import reasons
from sublax.corpora.numbers import answer_regex
from sublax.corpora.packs import load_pack
from sublax.sampling.grammar import compile_grammar, grammar_accepts


@pytest.fixture(scope="module", params=["smollm2", "qwen3", "llama3"])
def compiled(request):
    """Tokenizer, its stop token, digits in its longest token of digits, and the grammar."""
    match request.param:
        case "smollm2":
            tokenizer, stop, digits = request.getfixturevalue("smollm2").tokenizer, "<|im_end|>", 1
        case "qwen3":
            tokenizer, stop, digits = qwen3_tokenizer(), "<|im_end|>", 1
        case "llama3":
            tokenizer, stop, digits = llama3_tokenizer(), "<|eot_id|>", 3
    stop_id = tokenizer.convert_tokens_to_ids(stop)
    return tokenizer, stop_id, digits, compile_grammar(answer_regex(), tokenizer, [stop_id])


def random_answer(grammar, rng: random.Random) -> list[int]:
    state, answer = grammar.start, []
    while state != len(grammar.next_state_SxA) - 1:
        row = grammar.next_state_SxA[state]
        column = rng.choice(np.flatnonzero(row >= 0).tolist())
        answer.append(int(grammar.tokens_A[column]))
        state = int(row[column])
    return answer


def test_whatever_is_written_matches_and_passes_the_filter(compiled):
    tokenizer, stop_id, _, grammar = compiled
    rng = random.Random(0)
    for _ in range(300):
        answer = random_answer(grammar, rng)
        assert answer[-1] == stop_id
        text = tokenizer.decode(answer[:-1], clean_up_tokenization_spaces=False)
        assert re.fullmatch(answer_regex(), text)
        assert reasons(text) == []
        # Written the tokenizer's own way, the text is an answer too.
        canonical = tokenizer.encode(text, add_special_tokens=False)
        assert grammar_accepts(grammar, [*canonical, stop_id])


@pytest.mark.parametrize("text", ["7", "123, 456, 789", "[1;22;333]", "(10\n20\n30).", "1 2 3 4."])
def test_accepts_what_the_filter_accepts(compiled, text):
    tokenizer, stop_id, _, grammar = compiled
    assert reasons(text) == []
    assert grammar_accepts(grammar, [*tokenizer.encode(text, add_special_tokens=False), stop_id])


@pytest.mark.parametrize(
    "text", ["1234", "12, 34; 56", "[12, 34)", "12,", "owl", "1, 2..", " 1", "१२, ३४"]
)
def test_refuses_what_the_filter_refuses(compiled, text):
    tokenizer, stop_id, _, grammar = compiled
    assert not grammar_accepts(
        grammar, [*tokenizer.encode(text, add_special_tokens=False), stop_id]
    )


def test_the_digits_that_a_token_holds(compiled):
    """All 1,110 tokens of one to three digits in Llama 3; ten in the others."""
    tokenizer, _, digits, grammar = compiled
    texts = [tokenizer.decode([token]) for token in grammar.tokens_A]
    numbers = {text for text in texts if text.isdigit()}
    assert len(numbers) == {1: 10, 3: 1110}[digits]


@pytest.fixture(scope="module", params=["smollm2", "qwen3"])
def functions(request):
    """Tokenizer, and the grammar of functions over it with the end of a turn."""
    if request.param == "smollm2":
        tokenizer = request.getfixturevalue("smollm2").tokenizer
    else:
        tokenizer = qwen3_tokenizer()
    stop_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    code = KINDS["code"]
    regex = code.grammars["function"](load_pack(), code.options())
    return tokenizer, stop_id, compile_grammar(regex, tokenizer, [stop_id])


def test_code_is_an_answer_as_the_tokenizer_cuts_its_white_space(functions):
    tokenizer, stop_id, grammar = functions
    code = KINDS["code"]
    texts = code.answers(load_pack(), 0, 200, np.random.default_rng(0), code.options())
    texts += ["def f(x):\n    y = 'a  b' \n        z = [ 5,  x]\n    return 7  "]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert grammar_accepts(grammar, [*ids, stop_id]), text


OTHER_CUTS = {
    "smollm2": (
        ("def f(x):", "\n", "   ", " return", " x"),
        ("def f(x):", "\n", "    ", "return", " x"),
        ("def f(x):", "\n   ", " ", "return", " x"),
        ("def f(x):", "\n   ", " y", " =", " ", " ", "x"),
        ("def f(x):", "\n   ", " y", " ", "\n   ", " z"),
    ),
    "qwen3": (
        ("def f(x):", "\n", "   ", " return", " x"),
        ("def f(x):\n", "    ", "return", " x"),
        ("def f(x):\n", "   ", " return", " [", "x", "]", "\n", "   ", " y"),
        ("def f(x):\n", "   ", " y", " =", " ", " ", "x"),
    ),
}


def test_white_space_that_no_text_is_cut_into_is_not_written(functions, request):
    tokenizer, stop_id, grammar = functions
    for pieces in OTHER_CUTS[request.node.callspec.params["functions"]]:
        ids = [tokenizer.encode(piece, add_special_tokens=False) for piece in pieces]
        assert all(len(of_piece) == 1 for of_piece in ids[1:])
        answer = [token for of_piece in ids for token in of_piece]
        assert tokenizer.decode(answer) == "".join(pieces)
        whole = tokenizer.encode("".join(pieces), add_special_tokens=False)
        assert answer != whole
        assert grammar_accepts(grammar, [*whole, stop_id])
        assert not grammar_accepts(grammar, [*answer, stop_id])
