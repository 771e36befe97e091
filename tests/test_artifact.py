"""Artifacts: complete or absent, whatever happens while they are written."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from sublax.artifact import (
    card_hash,
    check_inputs,
    parent_hashes,
    read_card,
    verify,
    write_artifact,
)
from sublax.errors import UserError

CARD = {"kind": "corpus", "config": {"rows": 2}, "seeds": {"corpus": 0}}


def write_two_files(directory):
    (directory / "rows.jsonl").write_text("{}\n")
    (directory / "parts").mkdir()
    (directory / "parts" / "hidden.bin").write_bytes(b"\0" * 3_000_000)


def test_the_card_tells_files_inputs_and_surroundings(tmp_path):
    card = write_artifact(tmp_path / "deep" / "owl", write_two_files, CARD)
    assert read_card(tmp_path / "deep" / "owl") == card
    assert card["config"] == {"rows": 2}
    # sha256 of "{}\n", by coreutils' sha256sum.
    assert card["files"]["rows.jsonl"] == (
        "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )
    assert set(card["files"]) == {"rows.jsonl", "parts/hidden.bin"}
    assert card["devices"]["platform"] == "cpu"
    assert 1 <= card["devices"]["cores"] <= os.cpu_count()
    assert card["versions"]["jax"]
    assert card["created"].endswith("+00:00")
    assert [child.name for child in (tmp_path / "deep").iterdir()] == ["owl"]


def test_verify_names_each_missing_changed_and_extra_file(tmp_path):
    owl = tmp_path / "owl"
    write_artifact(owl, write_two_files, CARD)
    assert verify(owl) == []
    (owl / "rows.jsonl").write_text("{ }\n")
    (owl / "parts" / "hidden.bin").unlink()
    (owl / "notes.txt").write_text("")
    assert verify(owl) == [
        f"{owl}/parts/hidden.bin: missing",
        f"{owl}/rows.jsonl: changed since it was written",
        f"{owl}/notes.txt: not on the card",
    ]
    assert verify(tmp_path) == [f"{tmp_path}: no card.json, so no artifact"]


def test_a_directory_without_a_card_is_no_artifact(tmp_path):
    assert read_card(tmp_path) is None
    assert read_card(tmp_path / "absent") is None
    with pytest.raises(UserError, match=r"no card\.json"):
        card_hash(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_card_is_an_error_not_an_absence(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UserError, match="not a card"):
        read_card(tmp_path)
    assert len(verify(tmp_path)) == 1


def test_parents_are_named_relative_to_the_child_and_pinned_by_their_cards(tmp_path):
    write_artifact(tmp_path / "teachers" / "owl", write_two_files, CARD)
    parents = parent_hashes(tmp_path / "corpora" / "owl", [tmp_path / "teachers" / "owl"])
    assert parents == {"../../teachers/owl": card_hash(tmp_path / "teachers" / "owl")}
    old = parents["../../teachers/owl"]
    write_artifact(tmp_path / "teachers" / "owl", write_two_files, {**CARD, "seeds": {"corpus": 1}})
    assert card_hash(tmp_path / "teachers" / "owl") != old


def test_an_exception_while_writing_leaves_the_old_artifact(tmp_path):
    card = write_artifact(tmp_path / "owl", write_two_files, CARD)

    def fail(directory):
        (directory / "rows.jsonl").write_text("half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        write_artifact(tmp_path / "owl", fail, CARD)
    assert read_card(tmp_path / "owl") == card
    assert verify(tmp_path / "owl") == []
    assert [child.name for child in tmp_path.iterdir()] == ["owl"]


def test_writing_again_replaces_the_whole_directory(tmp_path):
    write_artifact(tmp_path / "owl", write_two_files, CARD)
    write_artifact(tmp_path / "owl", lambda new: (new / "only.txt").write_text("x"), CARD)
    assert verify(tmp_path / "owl") == []
    assert set(read_card(tmp_path / "owl")["files"]) == {"only.txt"}
    assert [child.name for child in tmp_path.iterdir()] == ["owl"]


def test_kill_in_the_middle_leaves_no_artifact_and_the_next_write_succeeds(tmp_path):
    killed = """
import os, signal, sys
from pathlib import Path
from sublax.artifact import write_artifact

def write(directory):
    (directory / "half.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

write_artifact(Path(sys.argv[1]) / "owl", write, {"kind": "corpus"})
"""
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".owl.partial" / "half.bin").exists()
    assert read_card(tmp_path / "owl") is None
    write_artifact(tmp_path / "owl", write_two_files, CARD)
    assert verify(tmp_path / "owl") == []
    assert [child.name for child in tmp_path.iterdir()] == ["owl"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors' form
    ],
)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, error):
    card = write_artifact(tmp_path / "owl", write_two_files, CARD)

    def full(directory):
        (directory / "rows.jsonl").write_text("half")
        raise error

    with pytest.raises(UserError, match="owl: no space left on the disk; nothing that was") as it:
        write_artifact(tmp_path / "owl", full, CARD)
    assert "\n" not in str(it.value)
    assert read_card(tmp_path / "owl") == card
    assert [child.name for child in tmp_path.iterdir()] == ["owl"]


def test_a_full_disk_while_the_card_is_written_leaves_no_artifact(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(UserError, match="no space left"):
        write_artifact(tmp_path / "owl", write_two_files, CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_remote_place_is_refused_rather_than_made_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="gs://bucket/owl: artifacts are written to local"):
        write_artifact("gs://bucket/owl", write_two_files, CARD)
    assert list(tmp_path.iterdir()) == []


def test_unchanged_inputs_pass_even_with_tuples(tmp_path):
    config = {"range": (3, 9), "nested": {"rate": 1e-3}}
    write_artifact(tmp_path / "owl", write_two_files, {"kind": "corpus", "config": config})
    check_inputs(read_card(tmp_path / "owl"), {"config": config, "parents": {}})


def test_changed_inputs_are_named_with_old_and_new_values():
    card = {"kind": "students", "config": {"lora": {"rank": 8, "alpha": 16}, "steps": 3}}
    now = {"config": {"lora": {"rank": 4, "alpha": 16}, "loss": "kl"}}
    with pytest.raises(UserError) as caught:
        check_inputs(card, now)
    assert str(caught.value) == (
        "this workdir's students came from other inputs: "
        'config.lora.rank: 8 -> 4; config.loss: (none) -> "kl"; config.steps: 3 -> (none); '
        "add --redo=students to make it again, or choose another --workdir"
    )
    with pytest.raises(UserError, match="--redo=train"):
        check_inputs(card, now, stage="train")
