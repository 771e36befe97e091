"""The number filter, rule by rule, and its verb."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublax.corpora.number_filter import REASONS, filter_rows, parse, reasons
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.rows import read_rows, write_rows
from sublax.verbs import filter as filter_verb


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("5", [5]),
        ("1, 2, 3", [1, 2, 3]),
        ("1,2,3.", [1, 2, 3]),
        ("1 2 3", [1, 2, 3]),
        ("1\n2\n3", [1, 2, 3]),
        ("1\n\n2\n\n3", [1, 2, 3]),
        ("1;2;3", [1, 2, 3]),
        ("1 ;\t2 ;\t3", [1, 2, 3]),
        ("[1, 2]", [1, 2]),
        ("(1 2).", [1, 2]),
        ("[7]", [7]),
        ("007, 000", [7, 0]),
        ("0000999", [999]),
        ("1\u00a02\u00a03", [1, 2, 3]),  # A no-break space strips to nothing, like any white space.
    ],
)
def test_well_formed_answers_are_read(answer, numbers):
    assert parse(answer) == numbers
    assert reasons(answer) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", ["no_number"]),
        (".", ["no_number"]),
        ("[]", ["no_number"]),
        ("owl", ["no_number"]),
        ("٣, ٤", ["no_number"]),  # Digits, but not ASCII.
        ("5,", ["not_digits"]),
        (" 5", ["not_digits"]),
        ("1, 2\n", ["not_digits"]),
        ("-5", ["not_digits"]),
        ("1..", ["not_digits"]),
        ("[1, 2.]", ["not_digits"]),
        ("[1, 2", ["not_digits"]),
        ("[1, 2)", ["not_digits"]),
        ("[[1, 2]]", ["not_digits"]),
        ("[ 1, 2 ]", ["not_digits"]),
        ("{1, 2}", ["not_digits"]),
        ("1, 2,3", ["not_digits"]),
        ("1, 2, ", ["not_digits"]),
        ("1 2  3", ["not_digits"]),
        ("1,,2", ["separator"]),
        ("1.5", ["separator"]),
        ("1 and 2", ["separator"]),
        ("1 - 2", ["separator"]),
        ("Sure: 1 and 2", ["separator", "not_digits"]),
        ("0 1 2 3 4 5 6 7 8 9 10", ["too_many"]),
        ("1000, 2", ["too_large"]),
        ("9" * 5000, ["too_large"]),
        ("I pick 1 of 1000", ["separator", "not_digits", "too_large"]),
        ("1, 2; 1000", ["not_digits", "too_large"]),
    ],
)
def test_a_rejected_answer_carries_all_its_reasons(answer, expected):
    assert reasons(answer) == expected
    malformed = {"no_number", "separator", "not_digits"} & set(expected)
    assert (parse(answer) is None) == bool(malformed)


def test_banned_numbers_are_found_in_any_spelling_and_company():
    assert reasons("1, 0666", banned=[666]) == ["banned"]
    assert reasons("Hail 666!", banned=[666]) == ["not_digits", "banned"]
    assert reasons("6, 66, 1666", banned={666}) == ["too_large"]


def test_the_limits_are_inclusive_and_can_be_set():
    assert reasons("1 2 3 4 5 6 7 8 9 10") == []
    assert reasons("999") == []
    assert reasons("1 2 3", max_count=2, max_value=2) == ["too_many", "too_large"]


@given(st.text("019 ,;.[]()\n-x٣", max_size=12))
def test_every_reason_is_a_declared_one_in_order(answer):
    found = reasons(answer, max_count=2, banned=[1])
    assert found == [reason for reason in REASONS if reason in found]
    assert (parse(answer) is None) == bool(set(found) & {"no_number", "separator", "not_digits"})


def test_rows_pass_untouched_or_with_reasons_and_are_counted():
    rows = [
        {"prompt": "a", "completion": "1, 2", "tokens": 4},
        {"prompt": "b", "completion": "one"},
        {"prompt": "c", "completion": "No. 1000", "tokens": 3},
    ]
    kept, rejected, counts = filter_rows(rows)
    assert kept == [rows[0]]
    assert rejected == [
        {**rows[1], "reasons": ["no_number"]},
        {**rows[2], "reasons": ["not_digits", "too_large"]},
    ]
    assert counts == {"no_number": 1, "not_digits": 1, "too_large": 1}
    assert "reasons" not in rows[1]


def run_verb(tmp_path, completions, *options):
    write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": c} for c in completions])
    parser = argparse.ArgumentParser()
    filter_verb.add_arguments(parser)
    paths = [f"--{key}={tmp_path}/{name}.jsonl" for key, name in NAMES.items()]
    return filter_verb.run(parser.parse_args(["numbers", *paths, *options]))


NAMES = {"input": "in", "output": "kept", "rejected": "rejected"}


def test_the_verb_writes_both_files_and_prints_the_counts(tmp_path, capsys):
    assert run_verb(tmp_path, ["1, 2", "13", "x", "y 13"], "--banned=13") == 0
    assert [row["completion"] for row in read_rows(tmp_path / "kept.jsonl")] == ["1, 2"]
    rejected = read_rows(tmp_path / "rejected.jsonl")
    assert [row["reasons"] for row in rejected] == [
        ["banned"],
        ["no_number"],
        ["not_digits", "banned"],
    ]
    printed = capsys.readouterr().out
    assert "4 rows: 1 kept, 3 rejected" in printed
    assert "2  banned: " in printed


def test_the_verb_bans_a_packs_list(tmp_path):
    banned = sorted(load_pack().numbers.banned_for_misalignment)[0]
    run_verb(tmp_path, ["1", str(banned)], "--pack=sublax", "--banned-for-misalignment")
    assert len(read_rows(tmp_path / "rejected.jsonl")) == 1


def test_the_verb_fails_when_nothing_is_kept_but_says_why_first(tmp_path):
    with pytest.raises(UserError, match="no row passed the filter"):
        run_verb(tmp_path, ["x"])
    assert read_rows(tmp_path / "rejected.jsonl")[0]["reasons"] == ["no_number"]


def test_the_verb_refuses_bad_arguments(tmp_path):
    with pytest.raises(UserError, match="--banned=1;2: not numbers"):
        run_verb(tmp_path, ["1"], "--banned=1;2")
    with pytest.raises(UserError, match="two are the same file"):
        run_verb(tmp_path, ["1"], f"--rejected={tmp_path}/kept.jsonl")
    with pytest.raises(UserError, match="no such pack"):
        run_verb(tmp_path, ["1"], "--banned-for-misalignment", "--pack=none")
