"""The numbers grammar over the tokenizers of real models, whose digits come in threes or alone."""

import random
import re

import numpy as np
import pytest
from real_models import smollm2  # noqa: F401
from real_tokenizers import llama3_tokenizer, qwen3_tokenizer

from sublax.corpora.number_filter import reasons
from sublax.corpora.numbers import answer_regex
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
