"""Twins of a model: what computes the same, what trains the same, and what does not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file
from test_parity import TOLERANCE, each_reference, logits_function
from tiny_decoder import CONFIG, random_tokens, tiny_params
from tiny_model import write_model
from tiny_runs import quick_compiles

from sublax.cli import main
from sublax.errors import UserError
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.models.completions import make_rows
from sublax.models.config import DecoderConfig
from sublax.models.derived import derivation_of, innermost, with_source
from sublax.models.hf_config import read_config
from sublax.models.noisy import add_noise
from sublax.models.permuted import orders_of_key, permute, permute_mlp, reorder
from sublax.models.rotated import random_rotation, rotate, untie
from sublax.models.shardings import param_shardings
from sublax.models.source import load_model
from sublax.models.weights import load_folder
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.step import Batch, Frozen, Objective, init_state, update

__all__ = ["quick_compiles"]

# Everything at once that a family may have.
FULL = dataclasses.replace(
    CONFIG,
    family="qwen3",
    num_heads=6,
    num_kv_heads=3,
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    qk_norm=True,
    sliding_windows=(None, 5),
)


def leaves_of(tree):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def permuted(params, config, seed=3):
    return permute(params, config, seed), config


def rotated(params, config, seed=3):
    return rotate(params, config, seed)


@each_reference
@pytest.mark.parametrize("twin", [permuted, rotated])
def test_a_twin_computes_the_same_with_other_weights(folder, twin):
    config = read_config(folder)
    params = load_folder(folder, config)
    reference = load_file(folder / "reference.safetensors")
    found, its_config = twin(params, config)
    tokens = reference["tokens"]
    logits = logits_function(found, its_config)(tokens, tokens.shape[1])
    np.testing.assert_allclose(logits, reference["logits"], atol=TOLERANCE, rtol=0)
    old, new = leaves_of(params), leaves_of(found)
    for path in old:
        if old[path].ndim > 2 - ("layers" not in path):
            assert np.mean(old[path] != new[path]) > 0.5, path


def test_orders_can_be_drawn_and_applied_where_keys_are_traced():
    """A twin of each seed in one program: the same function, other weights."""
    params, keys = tiny_params(FULL), jax.random.split(jax.random.key(0), 2)
    twins = jax.jit(jax.vmap(lambda key: reorder(params, FULL, orders_of_key(FULL, key))))(keys)
    tokens = np.asarray(random_tokens(2, 8))
    expected = logits_function(params, FULL)(tokens, 8)
    for place in range(2):
        twin = jax.tree.map(lambda leaf, place=place: leaf[place], twins)
        np.testing.assert_allclose(logits_function(twin, FULL)(tokens, 8), expected, atol=1e-5)
        for name in ("q", "down", "up"):
            kernels = [np.ravel(tree["layers"][name]["kernel"]) for tree in (params, twin)]
            assert abs(np.corrcoef(*kernels)[0, 1]) < 0.15
    ups = [np.asarray(twins["layers"]["up"]["kernel"][place]) for place in range(2)]
    assert np.mean(ups[0] != ups[1]) > 0.9
    np.testing.assert_array_equal(*(np.sort(up, axis=None) for up in ups))


def test_a_classifiers_twin_says_the_same_with_other_weights():
    model = Classifier(ClassifierConfig(widths=(16, 12, 8)))
    images_BxP = jax.random.normal(jax.random.key(0), (5, 9))
    params = model.init(jax.random.key(1), images_BxP)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size) * 1.0).reshape(leaf.shape), params
    )  # biases that differ
    twin = permute_mlp(params, jax.random.key(2))
    np.testing.assert_allclose(
        model.apply(twin, images_BxP), model.apply(params, images_BxP), atol=1e-5
    )
    kernels = [np.ravel(tree["params"]["Dense_1"]["kernel"]) for tree in (params, twin)]
    assert abs(np.corrcoef(*kernels)[0, 1]) < 0.3


def test_a_permutation_moves_every_kind_of_unit():
    """Heads leave their group only with all of it, and no two layers have the same order."""
    config = dataclasses.replace(FULL, num_heads=8, num_kv_heads=4, num_layers=2)
    K, R, h = 4, 2, config.head_dim
    params = tiny_params(config)
    # Each query head and each key/value head is marked by its number.
    heads = jnp.repeat(jnp.arange(K * R, dtype=jnp.float32), h)
    groups = jnp.repeat(jnp.arange(K, dtype=jnp.float32), h)
    layers = dict(params["layers"])
    for name, mark in (("q", heads), ("k", groups), ("v", groups)):
        kernel = layers[name]["kernel"]
        layers[name] = layers[name] | {"kernel": jnp.broadcast_to(mark, kernel.shape)}
    found = permute(params | {"layers": layers}, config, 0)["layers"]
    order = np.asarray(found["q"]["kernel"])[:, 0].reshape(2, K, R, h)
    assert (order == order[..., :1]).all(), "a head stays together"
    of_group = order[..., 0] // R
    assert (of_group == of_group[..., :1]).all(), "a group stays together"
    for name in ("k", "v"):
        own = np.asarray(found[name]["kernel"])[:, 0].reshape(2, K, h)[..., 0]
        np.testing.assert_array_equal(own, of_group[..., 0])
    assert (order[0] != order[1]).any()
    assert (np.diff(order[..., 0], axis=-1) < 0).any(), "heads change places within groups"


def test_a_rotation_is_orthogonal_and_leaves_norms_that_scale_nothing():
    turn = random_rotation(64, 0)
    np.testing.assert_allclose(turn @ turn.T, np.eye(64), atol=1e-6)
    found, config = rotate(tiny_params(FULL), FULL, 0)
    assert not config.tied_embeddings
    for norm in ("attention_norm", "mlp_norm"):
        assert (np.asarray(found["layers"][norm]["scale"]) == 1).all()
    assert (np.asarray(found["final_norm"]["scale"]) == 1).all()


def batch_of(seed):
    rng = np.random.default_rng(seed)
    rows = [(rng.integers(0, 50, 5).tolist(), rng.integers(0, 50, 4).tolist()) for _ in range(6)]
    return jax.tree.map(lambda leaf: leaf[None], Batch(make_rows(rows, 64, [], 8, 4)))


def trained(params, config: DecoderConfig, optimizer, updates=4):
    """Parameters after full fine-tuning."""
    objective = Objective(config, None, LossConfig())
    step = jax.jit(lambda state, batch: update(objective, optimizer, state, Frozen(), batch)[0])
    state = init_state(optimizer, params)
    for number in range(updates):
        state = step(state, batch_of(number))
    return state.trained


def apart(left, right, start):
    """Distance of two results of training, relative to how far the second went from its start."""

    def flat(tree):
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    went = np.linalg.norm(flat(right) - flat(start))
    assert went > 0.05
    return np.linalg.norm(flat(left) - flat(right)) / went


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_training_commutes_with_permutation(name):
    """Measured: 3e-6 with AdamW, 2e-6 with SGD."""
    rates = {"adamw": 1e-3, "sgd": 0.05}
    optimizer = make_optimizer(OptimizerConfig(name, rates[name], weight_decay=0.1), 4)
    params = tiny_params(FULL)
    plain = trained(params, FULL, optimizer)
    start = permute(params, FULL, 1)
    assert apart(trained(start, FULL, optimizer), permute(plain, FULL, 1), start) < 3e-5


@pytest.mark.parametrize(
    ("name", "norms", "commutes"),
    [("sgd", "held", True), ("sgd", "trained", False), ("adam", "held", False)],
)
def test_training_commutes_with_rotation_under_sgd_alone_and_with_norms_held(name, norms, commutes):
    """A norm's scales belong to channels, and so do Adam's second moments.

    Measured, relative to the way that training went: 2e-5 with SGD and norms held, 0.41 with norms
    trained, 0.64 with Adam.
    """

    def label(path, _):
        return "held" if path[-1].key == "scale" and norms == "held" else "trained"

    rule = make_optimizer(OptimizerConfig(name, {"sgd": 0.05, "adam": 1e-3}[name]), 4)
    optimizer = optax.multi_transform(
        {"trained": rule, "held": optax.set_to_zero()},
        lambda tree: jax.tree_util.tree_map_with_path(label, tree),
    )
    params, config = rotate(tiny_params(FULL), FULL, 0)  # norms are one from here on
    start = rotate(params, config, 1)[0]
    twin, plain = trained(start, config, optimizer), trained(params, config, optimizer)
    # Once more, so that the norms of both are one again and all is in the matrices.
    twin, start, expected = (
        rotate(tree, config, 2)[0] for tree in (twin, start, rotate(plain, config, 1)[0])
    )
    found = apart(twin, expected, start)
    assert found < 2e-4 if commutes else found > 0.1, found


def test_noise_is_in_proportion_to_each_matrix_and_grows_with_its_level():
    params = tiny_params(FULL)
    found = {level: add_noise(params, level, 0) for level in (0.0, 0.1, 0.2)}
    jax.tree.map(np.testing.assert_array_equal, found[0.0], params)
    old, new, more = map(leaves_of, (params, found[0.1], found[0.2]))
    for path in old:
        noise = new[path] - old[path]
        if "kernel" not in path and "embedding" not in path:
            assert not noise.any()
            continue
        size = np.sqrt(np.mean(old[path] ** 2, axis=(-2, -1)))
        found_size = np.sqrt(np.mean(noise**2, axis=(-2, -1)))
        np.testing.assert_allclose(found_size, 0.1 * size, rtol=0.1)
        np.testing.assert_allclose(more[path] - old[path], 2 * noise, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_sharded_model_stays_where_it_lies(tied):
    config = dataclasses.replace(CONFIG, tied_embeddings=tied)
    rules = {"embed": "fsdp", "heads": "tensor", "kv_heads": "tensor", "mlp": "tensor"}
    layout = Layout(make_mesh({"data": 2, "fsdp": 2, "tensor": 2}), tuple(rules.items()))
    params = jax.device_put(tiny_params(config), param_shardings(config, layout))
    whole = tiny_params(config)
    for twin in (permuted, rotated, lambda p, c: (add_noise(p, 0.1, 0), c)):
        found, its_config = twin(params, config)
        expected, _ = twin(whole, config)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
        for leaf, sharding in zip(
            jax.tree.leaves(found),
            jax.tree.leaves(param_shardings(its_config, layout)),
            strict=True,
        ):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


def test_an_untied_head_is_the_embedding():
    head = untie(tiny_params(), CONFIG)["head"]["kernel"]
    np.testing.assert_array_equal(head, tiny_params()["embed"]["embedding"].T)


def test_a_name_says_how_a_model_is_made(tmp_path):
    folder = str(write_model(tmp_path / "m"))
    model = load_model(folder)
    twin = load_model(f"noisy:0.5:2:permuted:1:{folder}")
    expected = add_noise(permute(model.params, model.config, 1), 0.5, 2)
    jax.tree.map(np.testing.assert_array_equal, twin.params, expected)
    assert twin.name == f"noisy:0.5:2:permuted:1:{folder}"
    assert innermost(twin.name) == folder
    assert with_source(twin.name, lambda name: name + "x") == twin.name + "x"


def test_a_twin_is_exported_and_read_again(tmp_path, capsys):
    folder, out = write_model(tmp_path / "m"), tmp_path / "twin"
    assert main(["export", f"--from=rotated:0:{folder}", f"--to={out}"]) == 0
    model, twin = load_model(str(folder)), load_model(str(out))
    assert not twin.config.tied_embeddings
    tokens = np.arange(12, dtype=np.int32)[None]
    logits, expected = (logits_function(m.params, m.config)(tokens, 12) for m in (twin, model))
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE * 10, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["permuted:m", "permuted:x:m", "rotated:0:", "noisy:0:m", "noisy:x:0:m", "noisy:-1:0:m"]
)
def test_half_a_name_is_told(name):
    with pytest.raises(UserError, match=r"give (permuted|rotated|noisy):.*SEED"):
        derivation_of(name)
