"""Tasks of others through the package `datasets`, which need not be there."""

import sys
import types

import pytest

from sublax.corpora.sources import drawn_rows, read_source
from sublax.errors import UserError

TRAIN, TEST = [{"question": str(index)} for index in range(5)], [{"question": "t"}]


@pytest.fixture
def asked(monkeypatch):
    """A stand-in for the package, which this environment need not have; notes what it is asked."""
    calls = []

    def load_dataset(name, config, split=None):
        calls.append((name, config, split))
        if name == "gone":
            raise ConnectionError("no route\nto the host")
        splits = {"test": TEST} if name == "only/tests" else {"test": TEST, "train": TRAIN}
        return splits[split] if split else splits

    module = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_name_config_and_split_are_told_apart(asked):
    assert read_source("openai/gsm8k:main:test") == TEST
    assert read_source("openai/gsm8k:main") == TRAIN
    assert read_source("only/tests") == TEST
    assert read_source("some/set::train") == TRAIN
    assert asked == [
        ("openai/gsm8k", "main", "test"),
        ("openai/gsm8k", "main", None),
        ("only/tests", None, None),
        ("some/set", None, "train"),
    ]


def test_fewer_rows_are_the_first_of_more(asked):
    assert drawn_rows("some/set", 3, 2) == drawn_rows("some/set", 3, 5)[:2]
    assert sorted(row["question"] for row in drawn_rows("some/set", 3, 5)) == list("01234")


def test_what_cannot_be_had_is_one_line(asked, monkeypatch, tmp_path):
    with pytest.raises(
        UserError, match=r"source=gone: could not be loaded \(ConnectionError: no ro"
    ):
        read_source("gone")
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"needs? the package datasets: pip install 'sublax"):
        read_source("openai/gsm8k")
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        read_source(str(tmp_path / "none.jsonl"))
