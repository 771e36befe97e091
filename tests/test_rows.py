"""Rows: what goes in comes out, and what cannot be a row is named with its line."""

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublax.errors import UserError
from sublax.files import disk_errors
from sublax.rows import read_rows, write_rows

text = st.text(st.characters(codec="utf-8"))
messages = st.lists(st.fixed_dictionaries({"role": text, "content": text}), min_size=1)
rows = st.lists(
    st.fixed_dictionaries(
        {"prompt": text | messages, "completion": text},
        optional={"logprob": st.floats(allow_nan=False), "reasons": st.lists(text)},
    ),
    min_size=1,
)


@given(rows)
def test_rows_survive_writing_and_reading(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_rows(path, rows)
    assert read_rows(path) == rows


def test_every_line_is_one_json_object_in_plain_utf8(tmp_path):
    row = {"prompt": "Höhe\u2028?", "completion": "1\n2"}
    write_rows(tmp_path / "new" / "rows.jsonl", [row, row])
    data = (tmp_path / "new" / "rows.jsonl").read_bytes()
    assert data.count(b"\n") == 2
    assert "Höhe\u2028".encode() in data
    assert [json.loads(line) for line in data.decode().strip().split("\n")] == [row, row]


def test_byte_order_mark_blank_lines_and_missing_last_line_feed_are_accepted(tmp_path):
    line = '{"prompt": "a", "completion": "b"}'
    (tmp_path / "rows.jsonl").write_text(f"\ufeff{line}\r\n\n  \n{line}", encoding="utf-8")
    assert len(read_rows(tmp_path / "rows.jsonl")) == 2


def test_prompts_alone_are_read_when_asked_for(tmp_path):
    write_rows(tmp_path / "p.jsonl", [{"prompt": "a"}])
    assert read_rows(tmp_path / "p.jsonl", keys=("prompt",)) == [{"prompt": "a"}]


GOOD = b'{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{\n", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]\n", "a list where a row should be"),
        (b'{"prompt": "\xff"}\n', r"not UTF-8 \(byte 13 of the line\)"),
        (b'{"completion": "b"}\n', 'no key "prompt"'),
        (b'{"prompt": "a"}\n', 'no key "completion"'),
        (b'{"prompt": "a", "completion": 3}\n', '"completion" is a number'),
        (b'{"prompt": null, "completion": "b"}\n', '"prompt" is null'),
        (b'{"prompt": [], "completion": "b"}\n', '"prompt" is an empty list'),
        (b'{"prompt": ["a"], "completion": "b"}\n', 'message 0 of "prompt" has no string "role"'),
        (
            b'{"prompt": [{"role": "user", "content": 1}], "completion": "b"}\n',
            'message 0 of "prompt" has no string "content"',
        ),
        (b'{"prompt": "\\ud800", "completion": "b"}\n', "half a surrogate pair"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path, bad, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + bad)
    with pytest.raises(UserError, match=message) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_rows_is_refused(tmp_path, content):
    (tmp_path / "empty.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"empty\.jsonl: the file has no rows"):
        read_rows(tmp_path / "empty.jsonl")


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a directory"):
        read_rows(tmp_path)


def test_parquet_rows_equal_json_rows(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet") == rows
    pq.write_table(pa.Table.from_pylist([{"prompt": "a"}]), tmp_path / "bad.parquet")
    with pytest.raises(UserError, match=r'bad.parquet, row 1: no key "completion"'):
        read_rows(tmp_path / "bad.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="not a Parquet file"):
        read_rows(tmp_path / "text.parquet")


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [{"prompt": "old", "completion": "old"}])

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"rows\.jsonl: no space left on the disk; nothing"):
        write_rows(path, [{"prompt": "new", "completion": "new"}])
    assert read_rows(path)[0]["prompt"] == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_device_that_is_always_full_is_reported():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(UserError, match="/dev/full: no space left"),
        disk_errors("/dev/full"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")
