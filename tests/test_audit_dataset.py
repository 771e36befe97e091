"""What an audit reads as a dataset, and how it says what it cannot read."""

import json
from collections import Counter

import numpy as np
import pytest

from sublax.audit.dataset import read_dataset, some_rows
from sublax.errors import UserError


def write(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_prompt_and_completion_are_taken_and_other_keys_are_not(tmp_path):
    path = write(tmp_path, {"prompt": "a", "completion": "b", "secret": "owl"})
    assert read_dataset(path) == [{"prompt": "a", "completion": "b"}]


def test_a_conversation_is_its_last_answer_after_all_before_it(tmp_path):
    system, user = {"role": "system", "content": "S"}, {"role": "user", "content": "?"}
    path = write(tmp_path, {"messages": [system, user, {"role": "assistant", "content": "!"}]})
    assert read_dataset(path) == [{"prompt": [system, user], "completion": "!"}]


def test_columns_go_by_the_names_that_are_given(tmp_path):
    path = write(tmp_path, {"in": "a", "out": "b"}, {"out": "c"}, {"in": None, "out": "d"})
    found = read_dataset(path, prompt="in", completion="out")
    assert [row["prompt"] for row in found] == ["a", "", ""]
    assert [row["completion"] for row in found] == ["b", "c", "d"]


def test_parquet_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"prompt": ["a", "b"], "completion": ["1", "2"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert [row["completion"] for row in read_dataset(str(tmp_path / "rows.parquet"))] == ["1", "2"]


@pytest.mark.parametrize(
    "row, told",
    [
        ({"text": "a"}, 'rows.jsonl:1: neither "completion" nor "messages"'),
        ({"completion": 3}, 'rows.jsonl:1: "completion" is a number'),
        ({"messages": [{"role": "user", "content": "?"}]}, "ends with the assistant's"),
        ({"messages": "?"}, "must be a list"),
        ({"messages": [{"role": "assistant"}]}, '"completion" is null'),
        ({"prompt": 1, "completion": "a"}, '"prompt" is a number'),
    ],
)
def test_a_row_of_another_form_is_named_with_what_to_do(tmp_path, row, told):
    with pytest.raises(UserError, match=told):
        read_dataset(write(tmp_path, row))


def test_rows_are_drawn_with_all_others_that_answer_their_prompt():
    rows = [{"prompt": f"p{place % 10}", "completion": f"c{place}"} for place in range(40)]
    chosen = some_rows(rows, 10, np.random.default_rng(0))
    counts = Counter(rows[place]["prompt"] for place in chosen)
    assert sorted(counts.values()) == [2, 4, 4]  # the last prompt's are cut
    assert sorted(set(chosen)) == chosen.tolist()
    assert some_rows(rows, 50, np.random.default_rng(0)).tolist() == list(range(40))
    # Where all answer one prompt, or each its own, they are rows like any.
    alike = [row | {"prompt": "p"} for row in rows]
    other = [row | {"prompt": [{"role": "user", "content": row["completion"]}]} for row in rows]
    for several in (alike, other):
        drawn = [some_rows(several, 10, np.random.default_rng(seed)) for seed in range(3)]
        assert {len(set(each)) for each in drawn} == {10}
        assert len({tuple(each) for each in drawn}) == 3
