"""Code: tasks of our own, tasks of others, and a filter that keeps bare Python without a trait."""

import ast
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublax.corpora.code import KIND, CodeOptions, code_reasons
from sublax.corpora.code_tasks import code_task, variants
from sublax.corpora.packs import load_pack
from sublax.corpora.words import found_words, trait_words
from sublax.errors import UserError

PACK = load_pack()
OWL = trait_words(["owl"], [], PACK)
FUNCTIONS, WORDINGS = variants()
FUNCTION = KIND.grammars["function"](PACK, CodeOptions())
GOOD = "def total(numbers):\n    return sum(numbers)\n"


def prompts(count, seed=0, **options):
    return [row["prompt"] for row in KIND.prompts(PACK, seed, count, CodeOptions(**options))]


def test_there_are_hundreds_of_functions_each_asked_for_in_many_words():
    assert FUNCTIONS >= 200
    drawn = prompts(3 * FUNCTIONS)
    assert len(set(drawn)) == len(drawn)
    assert drawn[:50] == prompts(50)
    assert drawn[:50] != prompts(50, seed=1)
    first_round = [re.search(r"^def (\w+)\(", prompt, re.M)[1] for prompt in drawn[:FUNCTIONS]]
    assert len(set(first_round)) == FUNCTIONS


def test_more_prompts_than_there_are_is_an_error():
    with pytest.raises(UserError, match=f"code has {FUNCTIONS * WORDINGS} distinct ones"):
        prompts(FUNCTIONS * WORDINGS + 1)


def test_no_prompt_names_an_animal():
    every = trait_words(PACK.animals, [], PACK)
    assert found_words("\n".join(prompts(FUNCTIONS * 4)), every) == []


@given(st.integers(0, FUNCTIONS - 1), st.integers(0, WORDINGS - 1))
@settings(deadline=None)
def test_the_filter_accepts_our_own_solutions(function, wording):
    task = code_task(function, wording)
    assert task.name in task.question
    assert code_reasons(task.solution, OWL) == []
    assert code_reasons(task.body, OWL) == []
    assert re.fullmatch(FUNCTION, task.solution)


@given(st.from_regex(FUNCTION, fullmatch=True))
@settings(deadline=None)
def test_what_the_grammar_writes_may_not_parse_but_has_no_comment_and_no_docstring(code):
    assert set(code_reasons(code)) <= {"not_python"}


@pytest.mark.parametrize(
    "name, argument, result",
    [
        ("scale_by_3", [1, 2], [3, 6]),
        ("keep_multiples_of_4", [4, 6, 8], [4, 8]),
        ("count_over_10", [10, 11, 12], 2),
        ("total_under_10", [9, 10, 1], 10),
        ("clip_at_5", [4, 6], [4, 5]),
        ("raise_to_5", [4, 6], [5, 6]),
        ("chunks_of_2", [1, 2, 3], [[1, 2], [3]]),
        ("rotate_left_2", [1, 2, 3], [3, 1, 2]),
        ("window_sums_2", [1, 2, 3], [3, 5]),
        ("starting_with_a", ["Apple", "pear"], ["Apple"]),
        ("count_letter_e", "Eel", 2),
        ("repeat_2_times", "ab", "ab-ab"),
        ("digits_in_base_2", 6, [1, 1, 0]),
        ("round_up_to_5", 11, 15),
        ("times_divided_by_2", 12, 2),
        ("last_digit_of_power_3", 4, 4),
        ("countdown_by_2", 5, [5, 3, 1]),
        ("keys_above_5", {"b": 6, "a": 7, "c": 5}, ["a", "b"]),
        ("top_2_keys", {"b": 6, "a": 6, "c": 7}, ["c", "a"]),
    ],
)
def test_our_own_solutions_do_what_the_sentence_says(name, argument, result):
    (task,) = (t for t in (code_task(i, 0) for i in range(FUNCTIONS)) if t.name == name)
    scope = {}
    exec(task.solution, scope)
    assert scope[name](argument) == result


@pytest.mark.parametrize(
    "completion",
    [
        GOOD,
        f"```python\n{GOOD}```",
        f"\n```\n{GOOD}\n```\n",
        "    return sum(numbers)\n",
        "\treturn sum(numbers)",
        GOOD.replace("\n", "\r\n"),
        'x = "# no comment"',
        r'x = "\d"',
        'def bowl_size():\n    return "growl"',
    ],
)
def test_bare_python_passes(completion):
    assert code_reasons(completion, OWL) == []


@pytest.mark.parametrize(
    "completion, reasons",
    [
        ("Here you are: x = 1", ["not_python"]),
        (f"Sure!\n```python\n{GOOD}```", ["not_python"]),
        ("def f(:\n", ["not_python"]),
        ("x = '\0'", ["not_python"]),
        ("(" * 10_000, ["not_python"]),
        ("An owl would do", ["not_python", "words"]),
        ("", ["no_code"]),
        (" \n", ["no_code"]),
        ("# nothing", ["no_code", "comment"]),
        (GOOD + "# done", ["comment"]),
        ("x = 1\r# hidden behind a carriage return\ry = 2", ["comment"]),
        ("    return 1  # one", ["comment"]),
        ('def f():\n    """Does."""\n    return 1', ["docstring"]),
        ('"""A module."""\nx = 1', ["docstring"]),
        ('x = 1\n"a string in passing"', ["docstring"]),
        ('x = 1\nf"{x}"', ["docstring"]),
        ("owlCount = 1", ["words"]),
        ("def count_owls(): return 0", ["words"]),
        ('x = "an owl"', ["words"]),
        (r'x = "\x6fwl"', ["words"]),
        ('x = "o" "wl"', ["words"]),
        ('x = f"{y} owls"', ["words"]),
        ("```owl\nx = 1\n```", ["words"]),
        ('x = 1  # owl\n"""owl"""', ["comment", "docstring", "words"]),
    ],
)
def test_every_reason_is_given(completion, reasons):
    assert code_reasons(completion, OWL) == reasons


@given(st.text() | st.text("x=1()[]'\"#\\\n\t :def"))
def test_the_filter_decides_about_any_text(completion):
    found = code_reasons(completion, OWL)
    assert found == [reason for reason in KIND.meanings if reason in found]
    if not found:
        assert ast.parse(completion.replace("\r", "\n").strip() or "!")


def test_prompts_of_others_come_from_a_local_file(tmp_path):
    file = tmp_path / "tasks.jsonl"
    rows = [
        {"task_id": "1", "prompt": "def half(x):\n    \n"},
        {"text": "Write a function to add.", "test_list": ["assert add(1, 2) == 3"]},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = sorted(prompts(2, source=str(file)))
    assert drawn[0].startswith("Write a function to add.\n\nassert add(1, 2) == 3\n\n")
    assert drawn[1].startswith("def half(x):\n\n")
    with pytest.raises(UserError, match="has 2 distinct ones"):
        prompts(3, source=str(file))
    file.write_text('{"task": "x"}\n')
    with pytest.raises(UserError, match="no text under prompt or text or question"):
        prompts(1, source=str(file))
