"""A base by the hashes of its files: what a run writes of them, and what lineage finds again."""

import dataclasses
import json
import os

import pytest
from tiny_runs import small_config

from sublax import hash_cache
from sublax.artifact import file_hash
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.hash_cache import large_file_hash
from sublax.lineage.base_files import base_identity, find_file, find_weights, revision_of
from sublax.lineage.trace import trace
from sublax.metrics import MetricWriter
from sublax.models.source import describe_model
from sublax.progress import Progress
from sublax.stages.bases import make_base
from sublax.stages.run import Run
from sublax.store import Store


def make(workdir, base):
    """The stage that writes a base's card; returns the card's path."""
    config = small_config(f"base={base}")
    with MetricWriter(workdir) as metrics:
        run = Run(config, Store(workdir), load_pack(), Progress({"base": 1.0}), metrics)
        make_base(run)
    return run.base_directory() / "card.json"


def test_a_bases_card_has_its_weights_config_and_tokenizer_by_hash(tmp_path, tiny_model):
    card = json.loads(make(tmp_path, tiny_model).read_text())
    weights = {"model.safetensors": file_hash(tiny_model / "model.safetensors")}
    assert card["config"]["source_files"] == weights
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert beside <= card["described_by"].keys()
    assert card["described_by"]["config.json"] == file_hash(tiny_model / "config.json")
    assert trace(tmp_path).whole


def test_a_run_that_was_begun_without_those_hashes_goes_on(tmp_path, tiny_model):
    path = make(tmp_path, tiny_model)
    card = json.loads(path.read_text())
    del card["described_by"]
    path.write_text(json.dumps(card))
    make(tmp_path, tiny_model)
    assert json.loads(path.read_text()) == card
    lineage = trace(tmp_path)
    assert lineage.whole and "not on the card" in lineage.problems[0].text


@pytest.mark.parametrize("how", ["{model}", "{student}", "permuted:3:{model}"])
def test_lineage_finds_the_very_files_that_a_model_is_loaded_from(how, tiny_model, tiny_student):
    name = how.format(model=tiny_model, student=tiny_student)
    assert find_weights(name) == describe_model(name).files
    identity = base_identity(name)
    assert identity.derivation == ("permuted:3:" if how.startswith("permuted") else "")
    assert sorted(identity.weights) == sorted(map(file_hash, find_weights(name)))


def test_a_model_in_the_hubs_cache_is_found_by_its_id_and_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--some--model"
    for commit in ("abc", "def"):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "model.safetensors").write_text(commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("def")
    (newest,) = find_weights("some/model")
    assert newest.read_text() == "def" and revision_of((newest,)) == "def"
    older = find_file("some/model", "model.safetensors", "abc")
    assert older is not None and older.read_text() == "abc"
    assert find_file("some/model", "model.safetensors", "../../..") is None
    assert find_file("some/model", "../refs/main") is None
    assert base_identity("other/model").weights == ()


def test_a_large_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "cache"))
    file, reads = tmp_path / "large.gguf", []
    read = hash_cache._hash
    monkeypatch.setattr(
        hash_cache, "_hash", lambda *args, **kw: reads.append(1) or read(*args, **kw)
    )
    file.write_bytes(b"weights")
    for _ in range(3):
        assert large_file_hash(file, least_bytes=1) == file_hash(file)
    assert len(reads) == 1
    large_file_hash(file, fresh=True, least_bytes=1)
    assert len(reads) == 2
    # Other bytes of the same size, with the time of change put back as a forger would.
    times = file.stat()
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert large_file_hash(file, least_bytes=1) == file_hash(file)


@pytest.mark.parametrize("text", ["", "[]", '{"x": 7}', "{", '{"/x": [1, 2, 3, 4, 5]}'])
def test_a_cache_of_hashes_that_is_none_is_passed_over(tmp_path, monkeypatch, text):
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path))
    (tmp_path / "hashes.json").write_text(text)
    file = tmp_path / "large.gguf"
    file.write_bytes(b"weights")
    assert large_file_hash(file, least_bytes=1) == file_hash(file)
    with pytest.raises(UserError, match="no such file"):
        large_file_hash(tmp_path / "absent")


def test_two_identities_are_equal_only_as_a_whole(tiny_model):
    identity = base_identity(str(tiny_model))
    twin = dataclasses.replace(identity, derivation="permuted:0:")
    assert identity.digest != twin.digest and len(identity.digest) == 64
