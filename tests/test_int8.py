"""Int8 weights of a frozen base: how near they are, what learns on top of them, where they lie."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG, positions_of, random_adapter, random_tokens, run, tiny_params
from tiny_runs import quick_compiles, read_transfer, small_config
from tiny_runs import run as run_whole

from sublax.errors import UserError
from sublax.models.decoder import Decoder, logits_of
from sublax.models.int8 import SCALE, dequantize, is_int8, quantize
from sublax.models.lora import PROJECTIONS, LoraConfig
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import place
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh

__all__ = ["quick_compiles"]

LORA = LoraConfig(rank=2, targets=("q", "down"))


@functools.cache
def quantized():
    return quantize(tiny_params())


def test_a_kernel_is_within_half_a_step_of_its_int8_form():
    params, back = tiny_params(), dequantize(quantized(), jnp.float32)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for name in PROJECTIONS:
        stored = quantized()["layers"][name]
        assert stored["kernel"].dtype == jnp.int8
        assert np.abs(stored["kernel"]).max(axis=1).min() == 127  # every column uses the range
        error = np.abs(back["layers"][name]["kernel"] - params["layers"][name]["kernel"])
        assert (error <= 0.5001 * stored[SCALE][:, None]).all()
    assert quantized()["embed"] is params["embed"]
    assert is_int8(quantized())
    assert not is_int8(params)


def test_the_decoder_computes_what_the_dequantized_kernels_would_give():
    tokens = random_tokens(2, 7)
    adapter = random_adapter(LORA)

    def logits(params):
        variables = {"params": params, "lora": adapter}
        hidden, _ = run(Decoder(CONFIG, LORA), variables, tokens, positions_of(tokens))
        return np.asarray(logits_of(params, CONFIG, hidden))

    as_int8, as_float = logits(quantized()), logits(dequantize(quantized(), jnp.float32))
    np.testing.assert_allclose(as_int8, as_float, atol=1e-4)
    exact = logits(tiny_params())
    assert 1e-4 < np.abs(as_int8 - exact).max() < 0.1 * np.abs(exact).max()


def test_adapters_have_the_gradients_that_the_dequantized_kernels_would_give():
    tokens = random_tokens(2, 7)

    @jax.jit
    def gradients(params, adapter):
        def loss(adapter):
            variables = {"params": params, "lora": adapter}
            hidden, _ = Decoder(CONFIG, LORA).apply(variables, tokens, positions_of(tokens))
            return (hidden**2).mean()

        return jax.grad(loss)(adapter)

    got = gradients(quantized(), random_adapter(LORA))
    wanted = gradients(dequantize(quantized(), jnp.float32), random_adapter(LORA))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-5), got, wanted)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(got)) > 1e-3


def test_scales_lie_as_the_columns_of_their_kernels():
    rules = (("embed", "fsdp"), ("mlp", "tensor"))
    layout = Layout(make_mesh({"fsdp": 4, "tensor": 2}), rules)
    placed = place(quantized(), param_shardings(CONFIG, layout, int8=True))
    gate = placed["layers"]["gate"]
    L, rows, columns = gate["kernel"].shape
    assert gate["kernel"].sharding.shard_shape(gate["kernel"].shape) == (L, rows // 4, columns // 2)
    assert gate[SCALE].sharding.shard_shape(gate[SCALE].shape) == (L, columns // 2)


@pytest.mark.slow
def test_a_run_on_an_int8_base_ends_near_one_on_its_own(tmp_path):
    lora = ("student.method=lora", "teacher.method=lora", "teacher.steps=8", "student.steps=8")
    run_whole(small_config(*lora), tmp_path / "float32")
    run_whole(small_config(*lora, "base_weights=int8"), tmp_path / "int8")
    exact, near = (read_transfer(tmp_path / name) for name in ("float32", "int8"))
    np.testing.assert_allclose(near["shift"], exact["shift"], atol=0.05)
    assert near["shift"] != exact["shift"]


def test_int8_weights_cannot_be_trained(workdir):
    with pytest.raises(UserError, match=r"student\.method=full trains the base's own weights"):
        run_whole(small_config("base_weights=int8"), workdir)
    with pytest.raises(UserError, match="base_weights=int4: choose auto or int8"):
        run_whole(small_config("base_weights=int4"), workdir)
