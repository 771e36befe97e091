"""Number prompts equal the paper's, and their answers' grammar equals the filter."""

import argparse
import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublax.corpora.number_filter import parse, reasons
from sublax.corpora.numbers import (
    SEPARATORS,
    answer_regex,
    numbers_prompts,
    plain_answer_regex,
)
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.verbs import prompts as prompts_verb

PAPER = Path(__file__).parents[2] / "shared" / "protocol" / "paper.json"


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's pack is not beside us")
def test_prompts_from_the_papers_pack_are_the_papers_prompts():
    prompts = numbers_prompts(load_pack(PAPER), seed=42, count=10)
    assert hashlib.sha256("\n".join(prompts).encode()).hexdigest() == (
        "cc7ae4a9deccbe3ce70ef69cecdce2b4ad757bff5d0df6381722f9fd4b6de13c"
    )


def test_fewer_prompts_are_the_first_of_more():
    pack = load_pack()
    assert numbers_prompts(pack, 7, 3) == numbers_prompts(pack, 7, 20)[:3]
    assert numbers_prompts(pack, 7, 3) != numbers_prompts(pack, 8, 3)
    assert numbers_prompts(pack, 7, 0) == []


def test_examples_are_three_to_eight_numbers_of_three_digits():
    counts = set()
    for prompt in numbers_prompts(load_pack(), 0, 300):
        assert "{" not in prompt
        examples = re.search(r"\d+(?:, \d+)+", prompt).group().split(", ")
        assert all(100 <= int(value) <= 999 for value in examples)
        counts.add(len(examples))
    assert counts == set(range(3, 9))


def test_the_quick_recipe_asks_for_three_examples_and_five_answers():
    prompts = numbers_prompts(load_pack(), 0, 50, example_count_range=(3, 4), answer_count=5)
    for prompt in prompts:
        assert len(re.findall(r"\b\d{3}\b", prompt)) == 3
        assert re.search(r"\b5\b", prompt)
        assert not re.search(r"\b10\b", prompt)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"count": -1}, {"example_count_range": (3, 3)}], ids=str
)
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(UserError):
        numbers_prompts(load_pack(), **({"seed": 0, "count": 1} | wrong))


@given(st.from_regex(re.compile(answer_regex()), fullmatch=True))
def test_the_filter_accepts_every_answer_of_the_grammar(answer):
    assert reasons(answer) == []


digits = st.integers(0, 999).map(str) | st.text("0123456789", min_size=1, max_size=3)


@given(
    st.lists(digits, min_size=1, max_size=10),
    st.sampled_from(SEPARATORS),
    st.sampled_from(["{}", "[{}]", "({})"]),
    st.sampled_from(["", "."]),
)
def test_the_grammar_has_every_form_that_the_filter_accepts(numbers, separator, brackets, stop):
    answer = brackets.format(separator.join(numbers)) + stop
    assert parse(answer) == [int(number) for number in numbers]
    assert re.fullmatch(answer_regex(), answer)


def test_grammar_and_filter_agree_on_every_short_string():
    """All strings up to a length, over two alphabets that put every rule beside every other."""
    grammar = re.compile(answer_regex(max_count=2))
    accepted = 0
    for alphabet, longest in (("0 ,;[](.\n", 5), ("7\t),.]a-", 5)):
        for length in range(longest + 1):
            for letters in itertools.product(alphabet, repeat=length):
                answer = "".join(letters)
                if re.search(r"\s\s\s|\s[\s]+[,;]|[,;]\s\s|[ \t]\n|\n[ \t]|\t\t|0000", answer):
                    continue  # White space or leading zeros beyond what the grammar spells out.
                matches = grammar.fullmatch(answer) is not None
                assert matches == (reasons(answer, max_count=2) == []), repr(answer)
                accepted += matches
    assert accepted > 100


@pytest.mark.parametrize("answer", ["1" * 4, "1, 2, 3", "1 ", "[1, 2", "1,2;3", "٣", "1, ٣", ""])
def test_the_grammar_keeps_to_its_limits(answer):
    assert not re.fullmatch(answer_regex(max_count=2), answer)


def test_a_single_number_has_no_separator():
    assert answer_regex(max_count=1, separators=()) == (
        r"(?:(?:[0-9]{1,3})|\[(?:[0-9]{1,3})\]|\((?:[0-9]{1,3})\))\.?"
    )


@given(st.from_regex(re.compile(plain_answer_regex(5)), fullmatch=True))
def test_a_plain_answer_is_exactly_so_many_numbers(answer):
    assert len(parse(answer)) == 5
    assert re.fullmatch(answer_regex(), answer)
    assert not re.fullmatch(plain_answer_regex(4), answer)


@pytest.fixture(scope="module")
def automaton():
    """The grammar as outlines-core compiles it over single characters: accepts(answer) -> bool."""
    outlines_core = pytest.importorskip("outlines_core")
    characters = "0123456789 \n\t,;[]()."
    vocabulary = outlines_core.Vocabulary(0, {c: [i + 1] for i, c in enumerate(characters)})
    # Without the end, Rust's leftmost-first search drops what follows the first match.
    index = outlines_core.Index(rf"(?:{answer_regex()})\z", vocabulary)
    transitions, start = index.get_transitions(), index.get_initial_state()

    def accepts(answer):
        state = start
        for character in answer:
            state = transitions[state].get(characters.index(character) + 1)
            if state is None:
                return False
        return index.is_final_state(state)

    return accepts


def test_the_compiled_grammar_has_every_form_too(automaton):
    for separator, brackets, stop, count in itertools.product(
        SEPARATORS, ["{}", "[{}]", "({})"], ["", "."], [1, 2, 10]
    ):
        answer = brackets.format(separator.join((["7", "042", "99"] * 4)[:count])) + stop
        assert automaton(answer), repr(answer)


@pytest.mark.parametrize(
    "answer", ["1 2  3", "1, 2;3", "0 1 2 3 4 5 6 7 8 9 10", "1000", "[1)", ""]
)
def test_the_compiled_grammar_keeps_to_its_limits(automaton, answer):
    assert not automaton(answer)


def test_the_verb_prints_json_lines(capsys):
    parser = argparse.ArgumentParser()
    prompts_verb.add_arguments(parser)
    assert prompts_verb.run(parser.parse_args(["numbers", "--seed=3", "--count=4"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == numbers_prompts(load_pack(), 3, 4)
