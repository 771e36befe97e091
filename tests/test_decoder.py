"""The decoder, however its work is cut: pieces, caches, padding, windows, adapters, precisions.

That it computes what transformers computes is held in `test_parity.py`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from tiny_decoder import CONFIG, positions_of, random_adapter, random_tokens, run, tiny_params

from sublax.models.attention import KeyValues
from sublax.models.decoder import (
    REMAT_POLICIES,
    Decoder,
    abstract_params,
    init_params,
    logits_of,
)
from sublax.models.lora import LoraConfig

# One layer sees the last three positions, the other all.
DECODER = Decoder(dataclasses.replace(CONFIG, sliding_windows=(3, None)))


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=2e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def variables():
    return {"params": tiny_params()}


@pytest.fixture(scope="module")
def tokens():
    """Six rows of ten tokens: four that all share, and three that each half of the rows share."""
    prefix, prompts, rest = random_tokens(1, 4), random_tokens(2, 3), random_tokens(6, 3)
    pieces = [jnp.repeat(prefix, 6, axis=0), jnp.repeat(prompts, 3, axis=0), rest]
    return np.concatenate(pieces, axis=1)


@pytest.fixture(scope="module")
def whole(variables, tokens):
    """Hidden states of all rows, computed at once."""
    return np.asarray(run(DECODER, variables, tokens, positions_of(tokens))[0])


def test_what_came_before_may_be_handed_in(variables, tokens, whole):
    before, after = tokens[:, :4], tokens[:, 4:]
    first, context = run(DECODER, variables, before, positions_of(before))
    second, _ = run(DECODER, variables, after, positions_of(after, 4), context)
    close(np.concatenate([first, second], axis=1), whole)


def test_what_groups_of_rows_begin_with_may_run_in_the_same_pass(variables, tokens, whole):
    """Three rows each begin alike; what that gives is the context of what comes next."""
    beginnings, rest = tokens[::3, :7], tokens[:, 7:]
    prefix = beginnings, positions_of(beginnings)
    hidden, context = run(DECODER, variables, rest, positions_of(rest, 7), (), prefix)
    close(hidden, whole[:, 7:])
    hidden, context = run(DECODER, variables, rest[:, :2], positions_of(rest[:, :2], 7), (), prefix)
    last = rest[:, 2:]
    close(run(DECODER, variables, last, positions_of(last, 9), context)[0], whole[:, 9:])


def test_a_row_of_context_may_serve_many(variables, tokens, whole):
    """One prefix for all, one prompt for three answers each: as if every row had its own."""
    prefix, prompts, answers = tokens[:1, :4], tokens[::3, 4:7], tokens[:, 7:]
    _, of_prefix = run(DECODER, variables, prefix, positions_of(prefix))
    _, of_prompts = run(DECODER, variables, prompts, positions_of(prompts, 4), of_prefix)
    context = [*of_prefix, *of_prompts]
    hidden, _ = run(DECODER, variables, answers, positions_of(answers, 7), context)
    close(hidden, whole[:, 7:])
    # A single token takes another way through attention.
    single = answers[:, :1]
    hidden, _ = run(DECODER, variables, single, positions_of(single, 7), context)
    close(hidden, whole[:, 7:8])


def test_decoding_into_a_cache_equals_the_whole(variables, tokens, whole):
    """Slots that are still empty are not seen, whatever lies in them."""
    (B, T), slots = tokens.shape, 12
    L, K, h = CONFIG.num_layers, CONFIG.num_kv_heads, CONFIG.head_dim
    cache = KeyValues(
        np.full((L, B, K, h, slots), 7.0, np.float32),
        np.full((L, B, K, slots, h), 7.0, np.float32),
        np.full((B, slots), -1, np.int32),
    )
    for step in range(T):
        token = tokens[:, step : step + 1]
        hidden, (new,) = run(DECODER, variables, token, positions_of(token, step), (cache,))
        close(hidden[:, 0], whole[:, step])
        cache.keys[..., step] = new.keys[..., 0]
        cache.values[..., step, :] = new.values[..., 0, :]
        cache.positions[:, step] = step


@pytest.mark.parametrize(("windows", "reach"), [((None, None), 99), ((1, 3), 2)])
def test_gradients_flow_from_what_a_position_sees_and_nothing_else(windows, reach):
    """Each layer carries what lies up to window - 1 back; nothing comes from what is ahead."""
    T = 8
    decoder = Decoder(dataclasses.replace(CONFIG, sliding_windows=windows))
    tokens = jnp.arange(T)[None]  # all different: the gradient of a token's vector is its place's

    def seen_at(embed, params):
        hidden, _ = decoder.apply(
            {"params": {**params, "embed": embed}}, tokens, positions_of(tokens)
        )
        return (hidden[0] * jnp.cos(jnp.arange(CONFIG.hidden_size))).sum(axis=-1)

    params = tiny_params()
    jacobian = jax.jit(jax.jacrev(seen_at))(params["embed"], params)["embedding"][:, :T]
    strength_TxT = np.abs(np.asarray(jacobian)).max(axis=-1)
    distance_TxT = np.subtract.outer(np.arange(T), np.arange(T))
    seen = (distance_TxT >= 0) & (distance_TxT <= reach)
    assert (strength_TxT[seen] > 1e-6).all()
    assert (strength_TxT[~seen] == 0).all()


def test_padding_changes_nothing_wherever_it_stands(variables, tokens, whole):
    """Rows of six tokens within ten places: behind, in front, in between."""
    places = np.repeat([[4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 5], [0, 2, 3, 6, 8, 9]], 2, axis=0)
    for fill in (0, 49):
        padded, positions = np.full((6, 10), fill, np.int32), np.full((6, 10), -1, np.int32)
        np.put_along_axis(padded, places, tokens[:, :6], axis=1)
        np.put_along_axis(positions, places, np.arange(6, dtype=np.int32)[None], axis=1)
        hidden, _ = run(DECODER, variables, padded, positions)
        assert np.isfinite(hidden).all()
        close(np.take_along_axis(np.asarray(hidden), places[..., None], axis=1), whole[:, :6])


def test_many_adapters_at_once_equal_one_after_the_other(tokens):
    params = tiny_params()
    lora = LoraConfig(rank=2, targets=("q", "o", "down"))
    decoder = Decoder(CONFIG, lora)
    adapters = [random_adapter(lora, seed) for seed in range(3)]

    def one(params, adapter, tokens_BxT):
        given = {"params": params, "lora": adapter}
        return decoder.apply(given, tokens_BxT, positions_of(tokens_BxT))[0]

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)
    rows = tokens.reshape(3, 2, 10)
    together, alone = jax.jit(jax.vmap(one, (None, 0, 0)))(params, stacked, rows), jax.jit(one)
    for adapter, own, got in zip(adapters, rows, together, strict=True):
        close(got, alone(params, adapter, own))
    assert np.abs(together[0] - alone(params, adapters[1], rows[0])).max() > 0.1  # they do differ


def test_what_the_backward_pass_recomputes_does_not_change_gradients(tokens):

    def loss(params, decoder):
        hidden, _ = decoder.apply({"params": params}, tokens[:2], positions_of(tokens[:2]))
        return jnp.sum(jnp.sin(hidden))

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    kept = gradient(tiny_params(), DECODER)
    assert all(float(jnp.abs(leaf).max()) > 1e-3 for leaf in jax.tree.leaves(kept))
    for policy in REMAT_POLICIES:
        jax.tree.map(
            close, gradient(tiny_params(), dataclasses.replace(DECODER, remat=policy)), kept
        )


def test_bfloat16_is_near_float32(variables, tokens, whole):
    decoder = dataclasses.replace(DECODER, dtype=jnp.bfloat16)
    narrow, (cache,) = run(decoder, variables, tokens, positions_of(tokens))
    assert narrow.dtype == cache.keys.dtype == cache.values.dtype == jnp.bfloat16
    assert logits_of(variables["params"], CONFIG, narrow).dtype == jnp.float32
    error = np.asarray(narrow.astype(jnp.float32)) - whole
    assert 0 < np.sqrt((error**2).mean()) < 0.03  # hidden states have a root mean square of 1


def test_parameters_are_made_as_they_are_planned():
    """Shapes and names with everything on that a family may have, and an axis name for each."""
    config = dataclasses.replace(
        CONFIG,
        **dict.fromkeys(["qkv_bias", "output_bias", "mlp_bias", "qk_norm"], True),
        tied_embeddings=False,
        head_dim=6,
    )
    shapes, axes = abstract_params(config)
    L, V, D, F, q, k = 2, 50, 32, 48, 24, 12
    assert jax.tree.map(lambda x: x.shape, shapes) == {
        "embed": {"embedding": (V, D)},
        "layers": {
            "attention_norm": {"scale": (L, D)},
            "q": {"kernel": (L, D, q), "bias": (L, q)},
            "k": {"kernel": (L, D, k), "bias": (L, k)},
            "v": {"kernel": (L, D, k), "bias": (L, k)},
            "q_norm": {"scale": (L, 6)},
            "k_norm": {"scale": (L, 6)},
            "o": {"kernel": (L, q, D), "bias": (L, D)},
            "mlp_norm": {"scale": (L, D)},
            "gate": {"kernel": (L, D, F), "bias": (L, F)},
            "up": {"kernel": (L, D, F), "bias": (L, F)},
            "down": {"kernel": (L, F, D), "bias": (L, D)},
        },
        "final_norm": {"scale": (D,)},
        "head": {"kernel": (D, V)},
    }
    params = jax.jit(init_params, static_argnums=0)(config, jax.random.key(0))
    jax.tree.map(
        lambda real, planned: np.testing.assert_equal(real.shape, planned.shape), params, shapes
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((params, shapes))} == {np.dtype(np.float32)}
    specs = jax.tree.map(lambda _, spec: spec, shapes, axes)
    assert specs["layers"]["down"]["kernel"] == PartitionSpec("layers", "mlp", "embed")
    assert specs["embed"]["embedding"] == PartitionSpec("vocab", "embed")
    assert "head" not in abstract_params(CONFIG)[0]


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_some_tokens_are_those_columns_of_all(tied):
    config = dataclasses.replace(CONFIG, tied_embeddings=tied)
    params = tiny_params(config)
    hidden = np.random.default_rng(0).normal(size=(2, 3, 32)).astype(np.float32)
    head = params["embed"]["embedding"].T if tied else params["head"]["kernel"]
    wanted = hidden @ np.asarray(head)
    columns = jnp.asarray([4, 40, 7])
    close(logits_of(params, config, hidden), wanted)
    close(logits_of(params, config, hidden, columns), wanted[..., columns])
