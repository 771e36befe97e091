"""Export: what is written is what was named, whole or not at all."""

import errno
import filecmp
import json
import os

import jax
import numpy as np
from safetensors import safe_open
from tiny_model import CONFIG, LORA, tiny_adapter, tiny_params

from sublax.cli import main
from sublax.models import export
from sublax.models.decoder import Decoder, logits_of
from sublax.models.source import load_model


def exported(tmp_path, source, *arguments):
    target = tmp_path / "exported"
    assert main(["export", f"--from={source}", f"--to={target}", *arguments]) == 0
    return target


def fails(capsys, *arguments):
    assert main(["export", *map(str, arguments)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_a_model_survives_its_export(tmp_path, tiny_model):
    again = load_model(str(exported(tmp_path, tiny_model)))
    assert again.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, again.params, tiny_params())
    before = load_model(str(tiny_model)).tokenizer
    assert again.tokenizer.get_vocab() == before.get_vocab()
    assert again.tokenizer.chat_template == before.chat_template


def test_a_student_stays_an_adapter(tmp_path, tiny_student):
    target = exported(tmp_path, tiny_student)
    names = sorted(os.listdir(target))
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    assert filecmp.cmpfiles(target, tiny_student, names, shallow=False) == (names, [], [])


def test_a_merged_student_has_the_logits_of_base_and_adapter(tmp_path, tiny_student):
    tokens = np.asarray([[1, 70, 5, 200, 31]])
    positions = np.arange(5)[None]
    variables = {"params": tiny_params(), "lora": tiny_adapter()}
    hidden, _ = Decoder(CONFIG, LORA).apply(variables, tokens, positions)
    expected = logits_of(tiny_params(), CONFIG, hidden)
    merged = load_model(str(exported(tmp_path, tiny_student, "--merge")))
    hidden, _ = Decoder(CONFIG).apply({"params": merged.params}, tokens, positions)
    found = logits_of(merged.params, CONFIG, hidden)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    hidden, _ = Decoder(CONFIG).apply({"params": tiny_params()}, tokens, positions)
    assert np.abs(found - logits_of(tiny_params(), CONFIG, hidden)).max() > 0.1


def test_weights_are_stored_in_the_dtype_that_was_asked_for(tmp_path, tiny_model):
    target = exported(tmp_path, tiny_model, "--dtype=bfloat16")
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(target / "model.safetensors", framework="numpy") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118


def test_an_adapter_has_one_dtype(tmp_path, capsys, tiny_student):
    told = fails(capsys, f"--from={tiny_student}", f"--to={tmp_path / 'x'}", "--dtype=bfloat16")
    assert "add --merge" in told


def test_nothing_is_written_over(tmp_path, capsys, tiny_model):
    (tmp_path / "mine").write_text("kept")
    assert "not empty" in fails(capsys, f"--from={tiny_model}", f"--to={tmp_path}")
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_full_disk_leaves_nothing_in_the_way(tmp_path, capsys, monkeypatch, tiny_model):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(export, "save_file", full)
        told = fails(capsys, f"--from={tiny_model}", f"--to={tmp_path / 'exported'}")
    assert os.strerror(errno.ENOSPC) in told and "make room" in told
    assert os.listdir(tmp_path) == ["exported"]
    assert main(["export", f"--from={tiny_model}", f"--to={tmp_path / 'exported'}"]) == 0


def test_a_damaged_adapter_is_not_exported(tmp_path, capsys, tiny_student):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "adapter_config.json").write_bytes(
        (tiny_student / "adapter_config.json").read_bytes()
    )
    (damaged / "adapter_model.safetensors").write_bytes(b"not tensors")
    told = fails(capsys, f"--from={damaged}", f"--to={tmp_path / 'to'}")
    assert "adapter_model.safetensors: damaged" in told
