"""The decoder computes what transformers computes: logits, continuations, files in both directions.

The references are small random checkpoints of each family with their odd settings on, and the
logits of transformers on torch; `fixtures/make_references.py` wrote them.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from sublax.models.config import RopeConfig
from sublax.models.decoder import Decoder, init_params, logits_of
from sublax.models.export import export_folder
from sublax.models.hf_config import read_config
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.peft_adapter import export_adapter, load_adapter
from sublax.models.weights import load_folder

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "references"
REFERENCES = sorted(FOLDER.iterdir())
TOLERANCE = 2e-4

each_reference = pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)


def positions_of(tokens, start=0):
    """Positions of rows without padding."""
    return jnp.broadcast_to(start + jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)


def logits_function(params, config, lora=None, lora_config=None):
    """(tokens, length) -> logits of whole rows, what stands after `length` being padding."""
    variables = {"params": params} | ({} if lora is None else {"lora": lora})

    @jax.jit
    def compute(variables, tokens, length):
        positions = positions_of(tokens)
        positions = jnp.where(positions < length, positions, -1)
        hidden, _ = Decoder(config, lora_config).apply(variables, tokens, positions)
        return logits_of(variables["params"], config, hidden)

    return lambda tokens, length: np.asarray(compute(variables, tokens, length))


@each_reference
def test_logits_and_greedy_continuation(folder):
    config = read_config(folder)
    reference = load_file(folder / "reference.safetensors")
    tokens, continuation = reference["tokens"], reference["continuation"]
    prompt, whole = tokens.shape[1], np.concatenate([tokens, continuation], axis=1)
    logits_at = logits_function(load_folder(folder, config), config)

    logits = logits_at(whole, prompt)[:, :prompt]
    np.testing.assert_allclose(logits, reference["logits"], atol=TOLERANCE, rtol=0)
    for length in range(prompt, whole.shape[1]):  # each token is the best after all before it
        best = logits_at(whole, length)[:, length - 1].argmax(-1)
        np.testing.assert_array_equal(best, whole[:, length])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama3_scaling", {"rope": RopeConfig(theta=1000.0)}),
        ("llama_linear", {"rope": RopeConfig()}),
        ("llama_dynamic", {"rope": RopeConfig()}),
        ("qwen2_5_yarn", {"rope": RopeConfig(theta=1e6)}),
        ("mistral_window", {"sliding_windows": (9, 9, 9)}),
        ("qwen2_window", {"sliding_windows": (8, 8, 8)}),
    ],
)
def test_the_references_would_notice_a_setting_lost(name, changes):
    folder = FOLDER / name
    config = dataclasses.replace(read_config(folder), **changes)
    reference = load_file(folder / "reference.safetensors")
    logits_at = logits_function(load_folder(folder, config), config)
    logits = logits_at(reference["tokens"], reference["tokens"].shape[1])
    assert np.abs(logits - reference["logits"]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["llama_biases", "mistral_window", "qwen3_layer_types"])
def test_prefill_and_decode_equal_the_full_forward(name):
    folder = FOLDER / name
    config = read_config(folder)
    variables = {"params": load_folder(folder, config)}
    reference = load_file(folder / "reference.safetensors")
    tokens = jnp.asarray(reference["tokens"])
    apply = jax.jit(Decoder(config).apply)

    before, last = tokens[:, :-1], tokens[:, -1:]
    _, context = apply(variables, before, positions_of(before))
    hidden, _ = apply(variables, last, positions_of(last, before.shape[1]), context)
    logits = logits_of(variables["params"], config, hidden)[:, 0]
    np.testing.assert_allclose(logits, reference["logits"][:, -1], atol=TOLERANCE, rtol=0)


@each_reference
def test_export_writes_back_what_was_loaded(folder, tmp_path):
    """The same tensors, bit for bit, and a config that means the same."""
    config = read_config(folder)
    params = load_folder(folder, config)
    export_folder(tmp_path / "out", params, config)
    assert read_config(tmp_path / "out") == config
    again = load_folder(tmp_path / "out", config)
    jax.tree.map(np.testing.assert_array_equal, params, again)

    with (
        safe_open(folder / "model.safetensors", framework="numpy") as original,
        safe_open(tmp_path / "out" / "model.safetensors", framework="numpy") as written,
    ):
        assert set(written.keys()) == set(original.keys())
        for name in original.keys():  # noqa: SIM118 - a file, not a dict
            expected = original.get_tensor(name).astype(np.float32)
            np.testing.assert_array_equal(written.get_tensor(name), expected)


def live_config(name, **changes):
    """A reference's config, with some settings changed."""
    return dataclasses.replace(read_config(FOLDER / name), **changes)


LIVE = {
    "llama": live_config("llama_biases", rope=RopeConfig(5e5, "llama3", 8.0, 16, 1.0, 4.0)),
    "mistral": live_config("mistral_window"),
    "qwen2": live_config("qwen2_window", rope=RopeConfig(1e4, "yarn", 4.0, 16)),
    "qwen3": live_config("qwen3_layer_types"),
}


def shaken(params):
    """Norms and biases away from one and zero, so that a lost one shows."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.mark.slow
@pytest.mark.parametrize("family", LIVE)
def test_transformers_and_peft_load_what_is_exported(family, tmp_path):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = LIVE[family]
    params = shaken(init_params(config, jax.random.key(0)))
    tokens = np.random.default_rng(0).integers(config.vocab_size, size=(2, 24)).astype(np.int32)

    export_folder(tmp_path / "base", params, config)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        theirs = model(torch.tensor(tokens).long()).logits.numpy()
    ours = logits_function(params, config)(tokens, tokens.shape[1])
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, rtol=0)

    lora_config = LoraConfig(4, 6.0, ("q", "v", "o", "down"), rank_stabilized=family == "qwen3")
    lora = shaken(init_lora(config, lora_config, jax.random.key(2)))
    export_adapter(tmp_path / "adapter", lora, lora_config, str(tmp_path / "base"))
    adapted = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
    with torch.no_grad():
        theirs = adapted(torch.tensor(tokens).long()).logits.numpy()
    ours_adapted = logits_function(params, config, lora, lora_config)(tokens, tokens.shape[1])
    assert np.abs(ours_adapted - ours).max() > 0.1
    np.testing.assert_allclose(ours_adapted, theirs, atol=TOLERANCE, rtol=0)

    adapted.save_pretrained(tmp_path / "by_peft")
    read, read_config_ = load_adapter(tmp_path / "by_peft", config)
    assert read_config_ == lora_config
    jax.tree.map(np.testing.assert_array_equal, read, lora)
