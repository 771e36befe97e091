"""Low-rank adapters: what they add, what merging them gives, and their hand-written gradient."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG, positions_of, random_adapter, random_tokens, run, tiny_params

from sublax.models.decoder import Decoder
from sublax.models.lora import PROJECTIONS, LoraConfig, init_lora, low_rank, merge, unmerge

LORA = LoraConfig(rank=4, alpha=8.0)


def close(got, wanted, atol=2e-5):
    np.testing.assert_allclose(got, wanted, atol=atol, rtol=1e-5)


def hidden_of(params, adapter=None, lora=None):
    tokens = random_tokens(2, 6)
    variables = {"params": params} | ({} if adapter is None else {"lora": adapter})
    return run(Decoder(CONFIG, lora), variables, tokens, positions_of(tokens))[0]


def test_a_fresh_adapter_leaves_the_function_as_it_is():
    fresh = init_lora(CONFIG, LORA, jax.random.key(0))
    np.testing.assert_array_equal(hidden_of(tiny_params(), fresh, LORA), hidden_of(tiny_params()))


def test_a_fresh_adapter_is_drawn_as_peft_draws_it():
    """A uniform in +-1/sqrt(in), every projection and layer anew; B zero; all float32."""
    layers = init_lora(CONFIG, LoraConfig(rank=16), jax.random.key(0))["layers"]
    assert sorted(layers) == sorted(PROJECTIONS)
    drawn = set()
    for target, pair in layers.items():
        fan_in = {"o": 32, "down": 48}.get(target, 32)
        assert pair["a"].shape[:2] == (2, fan_in) and pair["b"].shape[:2] == (2, 16)
        assert pair["a"].dtype == pair["b"].dtype == jnp.float32
        assert not pair["b"].any()
        scaled = np.asarray(pair["a"]) * math.sqrt(fan_in)
        assert np.abs(scaled).max() <= 1
        assert abs(scaled.std() - 1 / math.sqrt(3)) < 0.05  # of the uniform distribution
        drawn |= {float(a[0, 0]) for a in scaled}
    assert len(drawn) == 2 * len(PROJECTIONS)


@pytest.mark.parametrize("lora", [LORA, LoraConfig(4, 8.0, ("v", "up"), rank_stabilized=True)])
def test_merging_equals_applying(lora):
    adapter, params = random_adapter(lora, seed=1), tiny_params()
    applied, merged = hidden_of(params, adapter, lora), merge(params, adapter, lora)
    close(hidden_of(merged), applied)
    assert np.abs(applied - hidden_of(params)).max() > 0.1
    for name in set(PROJECTIONS) - set(lora.targets):
        assert merged["layers"][name] is params["layers"][name]


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_unmerging_takes_out_what_was_merged(dtype):
    params = jax.tree.map(lambda x: np.asarray(x).astype(dtype), tiny_params())
    adapter = random_adapter(LORA, seed=1)
    merged = merge(params, adapter, LORA)
    back = unmerge(merged, adapter, LORA)
    assert {leaf.dtype for leaf in jax.tree.leaves(back)} == {np.dtype(dtype)}
    for name in PROJECTIONS:
        before, between, after = (
            np.float32(tree["layers"][name]["kernel"]) for tree in (params, merged, back)
        )
        # Rounded twice, at the size that the kernel has in between.
        close(after, before, atol=float(jnp.finfo(dtype).eps) * np.abs(between).max())
        assert np.abs(between - before).max() > 0.1


def test_the_scale_is_alpha_over_rank_or_over_its_root():
    plain = LoraConfig(rank=16, alpha=8.0)
    assert plain.scale == 0.5
    assert dataclasses.replace(plain, rank_stabilized=True).scale == 2.0


def test_a_target_that_is_no_projection_is_named():
    with pytest.raises(ValueError, match=r"no projection 'query': choose from q, k, v"):
        init_lora(CONFIG, LoraConfig(targets=("q", "query")), jax.random.key(0))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3, 4)], ids=str)
def test_the_gradient_written_by_hand_is_the_one_that_jax_derives(batch):
    """Under any batch dimensions, and mapped over adapters with inputs shared or their own."""
    rng = np.random.default_rng(0)
    x, a, b = (
        jnp.asarray(rng.normal(size=(3, *shape)), jnp.float32)
        for shape in ((*batch, 7), (7, 2), (2, 5))
    )

    def gradients(function):
        def loss(x, a, b):
            return jnp.sum(jnp.sin(function(x, a, b)))

        one = jax.value_and_grad(loss, argnums=(0, 1, 2))
        alone = one(x[0], a[0], b[0])
        own, shared = jax.vmap(one)(x, a, b), jax.vmap(one, (None, 0, 0))(x[0], a, b)
        return alone, own, shared

    derived = jax.jit(lambda: gradients(lambda x, a, b: (x @ a) @ b))()
    jax.tree.map(close, jax.jit(lambda: gradients(low_rank))(), derived)
