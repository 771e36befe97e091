"""What a run wrote, named as a model: students, teachers of low rank, and the base by its card."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_model import CONFIG, LORA, tiny_adapter, tiny_params, write_adapter, write_model

from sublax.artifact import parent_hashes, write_artifact
from sublax.errors import UserError
from sublax.models.lora import merge
from sublax.models.source import find_model, load_model, with_adapter


def artifact(directory, kind, parents=(), write=lambda folder: None, **config):
    """Writes an artifact as a run does."""
    card = {"kind": kind, "parents": parent_hashes(directory, parents), "config": config}
    write_artifact(directory, write, card)
    return directory


def test_an_adapter_is_its_base_with_the_adapter_merged(tiny_model, tiny_student):
    model = load_model(str(tiny_student))
    assert model.config == CONFIG
    assert [path.parent for path in model.files] == [tiny_model, tiny_student]
    expected = merge(tiny_params(), tiny_adapter(), LORA)
    jax.tree.map(np.testing.assert_array_equal, model.params, expected)
    assert model.tokenizer.get_vocab() == load_model(str(tiny_model)).tokenizer.get_vocab()


def test_a_missing_base_is_named_with_the_adapter(tmp_path):
    student = write_adapter(tmp_path / "student", tmp_path / "gone")
    with pytest.raises(UserError, match=rf"^{student}: .*{tmp_path / 'gone'}: no such"):
        load_model(str(student))


def test_a_damaged_base_is_named_with_the_adapter(tmp_path):
    base = write_model(tmp_path / "base")
    (base / "model.safetensors").write_bytes(b"no tensors")
    student = write_adapter(tmp_path / "student", base)
    with pytest.raises(UserError, match=rf"^{student}: .*{base}/model.safetensors: damaged"):
        load_model(str(student))


def test_an_adapter_that_names_no_base_says_so(tmp_path):
    student = write_adapter(tmp_path / "student", "base")
    path = student / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(UserError, match=f"{path}: names no base_model_name_or_path"):
        load_model(str(student))


def test_an_adapter_of_another_shape_is_refused_with_both_names(tmp_path, tiny_model):
    model = load_model(str(tiny_model))
    narrow = tmp_path / "narrow"
    write_adapter(narrow, "base")
    path = narrow / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 3}))
    with pytest.raises(UserError, match=rf"{narrow}.*has shape .*the base is {tiny_model}"):
        with_adapter(model, narrow)


def test_the_cards_of_a_moved_workdir_lead_to_its_base(tmp_path):
    workdir = tmp_path / "first"
    base = artifact(workdir / "bases/b", "base", (), write_model, base="random:0")
    corpus = artifact(workdir / "corpora/b/owl", "corpus")
    student = artifact(
        workdir / "students/b/owl",
        "student",
        [corpus, base],
        lambda folder: write_adapter(folder, "random:0"),
    )
    expected = load_model(str(student)).params
    moved = tmp_path / "second"
    shutil.move(workdir, moved)
    found = load_model(str(moved / "students/b/owl"))
    assert found.files[0].parent == moved / "bases/b"
    jax.tree.map(np.testing.assert_array_equal, found.params, expected)


def test_a_teacher_that_is_the_base_stands_for_it(tmp_path, tiny_model):
    base = artifact(tmp_path / "bases/b", "base", base=str(tiny_model))
    teacher = artifact(tmp_path / "teachers/b/control", "teacher", [base])
    assert find_model(str(teacher)) == find_model(str(base)) == tiny_model


def test_an_artifact_that_is_no_model_says_so(tmp_path):
    orphan = artifact(tmp_path / "evaluations", "evaluation")
    with pytest.raises(UserError, match=f"{orphan}: holds no model, .*: name the base"):
        find_model(str(orphan))
