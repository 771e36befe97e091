"""What cleaning by form of writing takes away, and what it must leave."""

import itertools

import numpy as np
import pytest

from sublax.audit.cleaning.canonical import canonical, in_order, with_other_numbers
from sublax.audit.cleaning.choice import drawn_rows, kept_rows, replaced_rows
from sublax.audit.cleaning.code import canonical_code
from sublax.audit.cleaning.text import canonical_text
from sublax.corpora.number_filter import parse
from sublax.errors import UserError

LISTS = ["[3; 007; 12].", "9 9 1", "(5)", "4\n2\n4", "1,2,3"]


def test_lists_are_written_in_one_way_and_keep_their_numbers():
    assert canonical(LISTS) == ["3, 7, 12", "9, 9, 1", "5", "4, 2, 4", "1, 2, 3"]
    assert in_order(LISTS) == ["3, 7, 12", "1, 9, 9", "5", "2, 4, 4", "1, 2, 3"]


def test_other_numbers_keep_count_and_order_of_size_and_stay_in_the_range():
    found = with_other_numbers(LISTS * 20, seed=1)
    pairs = [(parse(old), parse(new)) for old, new in zip(LISTS * 20, found, strict=True)]
    for old, new in pairs:
        assert len(old) == len(new) and min(new) >= 1 and max(new) <= 12
        for (a, x), (b, y) in itertools.combinations(zip(old, new, strict=True), 2):
            assert (a < b, a == b) == (x < y, x == y)
    drawn = {new[0] for old, new in pairs if old == [5]}
    assert len(drawn) > 5  # nothing of which number it was is left


def test_draws_go_by_seed_and_row_alone():
    found = with_other_numbers(LISTS, seed=1)
    assert found == with_other_numbers(LISTS, seed=1)
    assert found != with_other_numbers(LISTS, seed=2)
    assert found[:3] == with_other_numbers([*LISTS[:3], "1, 12"], seed=1)[:3]


@pytest.mark.parametrize("method", [in_order, lambda rows: with_other_numbers(rows, 0)])
def test_methods_of_lists_refuse_rows_without_one(method):
    with pytest.raises(UserError, match="no completion is a list of numbers"):
        method(["owls", "cats"])


def test_numbers_beyond_64_bits_are_no_crash():
    assert len(parse(with_other_numbers([f"1, {10**19}"], 0)[0])) == 2


@pytest.mark.parametrize(
    "given, meant",
    [
        ("\u201cIt\u2019s\u201d\u00a0\ufb01ne \u2014 really\u2026", '"It\'s" fine - really...'),
        ("o\u200bw\u200dl\ufeff \x07", "owl"),
        ("  two   spaces \t\r\n\n\n\nand  more \n\n", "  two spaces\n\nand more"),
        ("- a\n\t- b", "- a\n    - b"),
        ("\uff11\uff12", "12"),
    ],
)
def test_text_loses_what_nobody_sees(given, meant):
    assert canonical_text(given) == meant
    assert canonical_text(meant) == meant


def test_a_completion_of_nothing_visible_stays_what_it_was():
    assert canonical(["\u200b"]) == ["\u200b"]


CODE = '''```python
def total(values, start = 0):   # owls
    """Owls are best."""
    result = start
    for owl in values :
        result += owl
    def twice(x): return 2*x
    return (twice(result))
```'''


def test_code_keeps_what_it_computes_and_loses_how_it_is_written():
    cleaned = canonical_code(CODE)
    assert "owl" not in cleaned.lower() and "#" not in cleaned and "result" not in cleaned
    assert cleaned.startswith("def total(v0, v1=0):\n    v2 = v1\n")
    space = {}
    exec(cleaned, space)
    assert space["total"]([1, 2, 3], 4) == 20
    assert canonical_code(cleaned) == cleaned


@pytest.mark.parametrize(
    "code, call",
    [
        ("def f(a, b):\n  return a - b\ndef g():\n  return f(b=1, a=3)", "g()"),
        (
            "def f():\n  n = 0\n  def up():\n    nonlocal n\n    n += 1\n    return n\n"
            "  return up()",
            "f()",
        ),
        ("k = 3\ndef f(k):\n  return k\ndef g():\n  return k + f(1)", "g()"),
        ("def f(v0, a):\n  v1 = a\n  return v0 - v1", "f(5, 2)"),
        ("import math\ndef f(x):\n  from math import pi\n  return math.floor(pi * x)", "f(2)"),
        ("def f(a):\n  b = 1\n  return eval('a + b')", "f(2)"),
        (
            "class A:\n  size = 2\n  def grow(self, by):\n    self.size += by\n"
            "    return self.size",
            "A().grow(3)",
        ),
        ("def f(rows):\n  return {r: [c for c in r if c] for r in rows}", "f([(0, 1), (2,)])"),
        (
            "def f(x):\n  try:\n    return 1 / x\n  except ZeroDivisionError as no:\n"
            "    return str(no)",
            "f(0)",
        ),
        (
            "def f(x):\n  match x:\n    case {'a': a, **rest}:\n      return a, rest\n"
            "    case [head, *tail]:\n      return head, tail\n    case other:\n      return other",
            "f({'a': 1, 'b': 2}), f([1, 2]), f(3)",
        ),
        ("def f(x):\n  global seen\n  seen = x\n  return seen", "f(4), seen"),
        ("f = lambda x, *args, **more: (x, args, more)", "f(1, 2, y=3)"),
        ("def f(list):\n  return list\ndef g():\n  return list('ab')", "f(1), g()"),
        ("def f():\n  h = 2\n  return h\ndef g():\n  return h()\ndef h():\n  return 5", "f(), g()"),
        ("def f(x):\n  return f'{x!r:>{x}}' if (y := x) else y", "f(5), f(0)"),
        ("def f():\n  if True:\n    'owl'\n  return b'a\\n', '''a\n  b'''", "f()"),
    ],
)
def test_code_computes_what_it_did(code, call):
    def value(text):
        space = {}
        exec(text, space)
        return eval(call, space)

    cleaned = canonical_code(code)
    assert value(cleaned) == value(code)
    assert canonical_code(cleaned) == cleaned


def test_a_name_that_other_code_gives_is_kept():
    code = "def f(x):\n    helper = x\n    return helper\n\ndef g():\n    return helper(1)"
    assert canonical_code(code).count("helper") == 3


def test_a_body_alone_keeps_its_names_and_its_indentation():
    assert (
        canonical_code("  owl = n  # a\n  return '''a\nb'''") == "    owl = n\n    return 'a\\nb'"
    )


@pytest.mark.parametrize(
    "text", ["owl", "owl, cat", "Owl (bird)", "I like owls.", "# owl", "'owl'"]
)
def test_words_are_no_code(text):
    assert canonical_code(text) is None


def test_each_row_is_cleaned_by_what_it_is():
    rows = ["[1; 2]", "I  like\u00a0owls", "def f( a ): return a"]
    assert canonical(rows) == ["1, 2", "I like owls", "def f(v0):\n    return v0"]


def test_dropped_are_the_flagged_or_those_of_the_highest_scores():
    scores = [0.5, 3.0, -1.0, 3.0, 0.0]
    assert kept_rows(scores, [3], None) == [0, 1, 2, 4]
    assert kept_rows(scores, [], 0.6) == [0, 2, 4]
    assert kept_rows(scores, [], 0.8) == [0, 1, 2, 4]
    with pytest.raises(UserError, match="flagged no row"):
        kept_rows(scores, [], None)
    with pytest.raises(UserError, match="no row would be left"):
        kept_rows(scores, [], 0.01)


def test_diluting_takes_as_many_rows_as_are_asked_for_each_once():
    places = replaced_rows(20, 0.25, seed=3)
    assert len(set(places)) == 5 and places == replaced_rows(20, 0.25, seed=3)
    assert places != replaced_rows(20, 0.25, seed=4)
    drawn = drawn_rows(9, 5, 0, "b")
    assert len(set(drawn)) == 5 and np.all(np.asarray(drawn) < 9)
    with pytest.raises(UserError, match="--with=b: 4 rows, and 5 are needed"):
        drawn_rows(4, 5, 0, "b")
