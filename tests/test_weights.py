"""Loading uses every tensor once and fills every parameter, on one device or eight, or it fails."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tokenizers
import transformers
from flax import traverse_util
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sublax.errors import UserError
from sublax.models.decoder import abstract_params
from sublax.models.export import export_folder
from sublax.models.hf_config import read_config
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.names import named_parameters
from sublax.models.peft_adapter import export_adapter, load_adapter
from sublax.models.weights import load_folder

REFERENCES = pathlib.Path(__file__).parent / "fixtures" / "references"
WEIGHTS = "model.safetensors"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path):
    """A small Llama, tied, that a test may damage."""
    return pathlib.Path(shutil.copytree(REFERENCES / "smollm2", tmp_path / "model"))


def rewrite(folder, change):
    """Applies `change` to the folder's tensors, in place."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def load(folder, **options):
    """The folder under its own config."""
    return load_folder(folder, read_config(folder), **options)


def assert_equal_trees(one, other):
    """Same paths, dtypes and bits."""
    one, other = traverse_util.flatten_dict(one), traverse_util.flatten_dict(other)
    assert one.keys() == other.keys()
    for path in one:
        assert one[path].dtype == other[path].dtype
        np.testing.assert_array_equal(np.asarray(one[path]), np.asarray(other[path]))


def test_kernels_are_transposed_and_layers_stacked(folder):
    tensors, params = load_file(folder / WEIGHTS), load(folder)
    kernel = params["layers"]["q"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_array_equal(kernel[1], tensors[Q_PROJ].astype(np.float32).T)
    embedding = tensors["model.embed_tokens.weight"].astype(np.float32)
    np.testing.assert_array_equal(params["embed"]["embedding"], embedding)


@pytest.mark.parametrize("name", ["smollm2", "llama_biases", "qwen3_layer_types"])
def test_the_loaded_tree_is_the_decoder_s(name):
    config = read_config(REFERENCES / name)
    shapes, _ = abstract_params(config)
    loaded = load_folder(REFERENCES / name, config)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), loaded) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )


@pytest.mark.parametrize("name", ["smollm2", "llama_biases", "qwen3_layer_types"])
def test_names_are_invertible(name):
    parameters = named_parameters(read_config(REFERENCES / name))
    tensors = [tensor for parameter in parameters for tensor in parameter.tensors]
    assert len(tensors) == len(set(tensors))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_any_float_dtype_loads(folder, dtype):
    expected = load(folder)  # stored in 16 bits; halves of bfloat16's mantissa survive float16

    def cast(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.astype(dtype)

    rewrite(folder, cast)
    rounded = jax.tree.map(lambda x: np.asarray(x).astype(dtype).astype(np.float32), expected)
    assert_equal_trees(load(folder), jax.tree.map(jnp.asarray, rounded))
    half = jax.tree.map(lambda x: jnp.asarray(x.astype(dtype)).astype(jnp.bfloat16), rounded)
    assert_equal_trees(load(folder, dtype=jnp.bfloat16), half)


def shard_over_eight(config):
    """Every axis that can be is cut over the mesh: layers, rows and columns."""
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), (AxisType.Auto,) * 3)
    shapes, _ = abstract_params(config)

    def cut(leaf):
        wanted = {3: ("data", "fsdp", "tensor"), 2: ("fsdp", "tensor"), 1: ("tensor",)}
        sizes = zip(leaf.shape, wanted[leaf.ndim], strict=True)
        return NamedSharding(mesh, P(*(axis if size % 2 == 0 else None for size, axis in sizes)))

    return jax.tree.map(cut, shapes)


@pytest.mark.parametrize("name", ["smollm2", "llama_biases", "mistral_window"])
def test_sharded_load_equals_one_device(name):
    config = read_config(REFERENCES / name)
    shardings = shard_over_eight(config)
    sharded = load_folder(REFERENCES / name, config, shardings)
    leaves, placements = jax.tree.leaves(sharded), jax.tree.leaves(shardings)
    for leaf, placement in zip(leaves, placements, strict=True):
        assert leaf.sharding == placement
    gate = sharded["layers"]["gate"]["kernel"]
    assert gate.addressable_shards[0].data.size <= gate.size // 4
    assert_equal_trees(sharded, load_folder(REFERENCES / name, config))


def test_each_slice_is_read_once(monkeypatch):
    """Replicas on other devices get the slice that was read for the first."""
    from sublax.models import weights

    read = []
    inner = weights._read_shard

    def counted(parameter, tensors, bounds, dtype):
        read.append((parameter.path, bounds))
        return inner(parameter, tensors, bounds, dtype)

    monkeypatch.setattr(weights, "_read_shard", counted)
    config = read_config(REFERENCES / "smollm2")
    load_folder(REFERENCES / "smollm2", config, shard_over_eight(config))
    assert len(read) == len(set(read))
    per_leaf = [bounds for path, bounds in read if path == "embed/embedding"]
    assert len(per_leaf) == 4  # cut 2 x 2, on eight devices


def test_many_files_with_an_index(tmp_path):
    config = read_config(REFERENCES / "llama2")
    params = load_folder(REFERENCES / "llama2", config)
    export_folder(tmp_path / "out", params, config, most_bytes=40_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    assert files == sorted(set(index["weight_map"].values()))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert_equal_trees(load_folder(tmp_path / "out", config), params)

    (tmp_path / "out" / files[1]).unlink()
    with pytest.raises(UserError, match=f"{files[1]}: no such file"):
        load_folder(tmp_path / "out", config)


def test_rotary_frequencies_in_the_file_are_no_parameters(folder):
    expected = load(folder)
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda tensors: tensors.update({name: np.ones(2, np.float32)}))
    assert_equal_trees(load(folder), expected)


def test_a_stored_tied_head_must_equal_the_embedding(folder):
    expected = load(folder)

    def store_head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()

    rewrite(folder, store_head)
    assert_equal_trees(load(folder), expected)

    def change_head(tensors):
        tensors["lm_head.weight"][-1, -1] += 1

    rewrite(folder, change_head)
    with pytest.raises(
        UserError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop(Q_PROJ), f"1 tensors missing ({Q_PROJ}), 0 left over (none)"),
        (lambda t: t.update(odd=t[Q_PROJ].copy()), "0 tensors missing (none), 1 left over (odd)"),
        (
            lambda t: t.update({"odd.weight": t.pop(Q_PROJ)}),
            f"1 tensors missing ({Q_PROJ}), 1 left over (odd.weight)",
        ),
        (lambda t: t.clear(), "and 14 more), 0 left over"),
        (lambda t: t.update({Q_PROJ: t[Q_PROJ][:5]}), f"{Q_PROJ} has shape (5, 36), the config"),
        (lambda t: t.update({Q_PROJ: t[Q_PROJ].astype(np.int8)}), f"{Q_PROJ} is I8"),
    ],
    ids=["missing", "left over", "both", "many", "shape", "dtype"],
)
def test_tensors_that_do_not_fit_the_config(folder, change, named):
    rewrite(folder, change)
    with pytest.raises(UserError) as raised:
        load(folder)
    message = str(raised.value)
    assert message.startswith(f"{folder}: ")
    assert named in message
    assert "\n" not in message


@pytest.mark.parametrize("kept", [0, 4, 500, -1])
def test_a_damaged_file(folder, kept):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(UserError, match=f"{WEIGHTS}: damaged .*fetch the file again"):
        load(folder)


def test_no_weights_and_a_damaged_index(folder):
    config = read_config(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_folder(folder, config)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(UserError, match="not an index of weights"):
        load_folder(folder, config)


def test_export_never_writes_over_something(folder):
    config = read_config(folder)
    with pytest.raises(UserError, match="not empty"):
        export_folder(folder, load_folder(folder, config), config)


def test_a_tokenizer_goes_along_with_its_special_tokens(tmp_path):
    config = read_config(REFERENCES / "smollm2")
    words = tokenizers.models.WordLevel({"<unk>": 0, "owl": 1, "<end>": 2}, unk_token="<unk>")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), eos_token="<end>", unk_token="<unk>"
    )
    params = load_folder(REFERENCES / "smollm2", config)
    export_folder(tmp_path / "out", params, config, tokenizer, dtype=jnp.bfloat16)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again("owl<end>")["input_ids"] == [1, 2]
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "out" / name).read_text())["eos_token_id"] == 2
    stored = load_file(tmp_path / "out" / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(jnp.bfloat16)}


def test_a_disk_that_takes_no_more(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("sublax.models.export.save_file", full)
    config = read_config(REFERENCES / "smollm2")
    params = load_folder(REFERENCES / "smollm2", config)
    with pytest.raises(UserError, match=r"part-1: cannot be written .*No space left on device"):
        export_folder(tmp_path / "out", params, config)


@pytest.fixture
def adapter(tmp_path):
    """(its folder, the tree, the adapter's config, the decoder's config)."""
    config = read_config(REFERENCES / "qwen3")
    lora_config = LoraConfig(2, 8.0, ("q", "k", "down"), rank_stabilized=True)
    drawn = init_lora(config, lora_config, jax.random.key(0))
    flat = traverse_util.flatten_dict(drawn)
    for index, path in enumerate(flat):
        flat[path] = jax.random.normal(jax.random.key(index), flat[path].shape)
    lora = traverse_util.unflatten_dict(flat)
    export_adapter(tmp_path / "adapter", lora, lora_config, "some/base")
    return tmp_path / "adapter", lora, lora_config, config


def test_an_adapter_reads_back(adapter):
    folder, lora, lora_config, config = adapter
    again, again_config = load_adapter(folder, config)
    assert again_config == lora_config
    assert_equal_trees(again, lora)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 4}),
        ("alpha_pattern", {"q_proj": 4}),
        ("layers_to_transform", [0]),
        ("init_lora_weights", "pissa"),
        ("an_option_of_tomorrow", 1),
        ("r", "2"),
    ],
)
def test_adapter_options_that_are_not_implemented(adapter, option, value):
    folder, _, _, config = adapter
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: value}))
    with pytest.raises(UserError, match=f"adapter_config.json: .*{option}"):
        load_adapter(folder, config)


def test_adapter_tensors_are_accounted_for(adapter):
    folder, _, _, config = adapter
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file(tensors | {name: tensors[name][:, :4].copy()}, path)
    with pytest.raises(UserError, match=r"lora_A\.weight has shape"):
        load_adapter(folder, config)
    del tensors[name]
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"1 tensors missing .*q_proj\.lora_A\.weight"):
        load_adapter(folder, config)
    path.unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: no such file"):
        load_adapter(folder, config)
