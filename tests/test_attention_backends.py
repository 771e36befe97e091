"""Attention by name: every backend computes what `xla` does, or says in one line why it cannot.

`splash` runs in Pallas' interpret mode. cuDNN's kernels need a GPU: what is handed to them is
checked through the same function's plain implementation.
"""

import dataclasses
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import CONFIG, random_adapter, tiny_params

from sublax.errors import UserError
from sublax.experiment import run_experiment
from sublax.models.attention import NO_WINDOW, attend, context_of
from sublax.models.attention_backends import (
    XLA,
    Attention,
    attend_by,
    check_backend,
    check_windows,
    choose,
)
from sublax.models.completions import completion_hidden, group_rows, make_rows, spread_rows
from sublax.models.cudnn import cudnn_attention
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.settings import read_config
from sublax.training.loop import rows_of

QUICKSTART = pathlib.Path(__file__).parents[1] / "configs" / "quickstart.py"
SPLASH = Attention("splash", interpret=True)
LORA = LoraConfig(rank=2, targets=("q", "v", "o"))


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=5e-6, rtol=1e-5)


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def padded_segments(B=4, H=4, K=2, h=8, T=6):
    """Queries of four rows, and what they see: a prefix for each two, padded, then their own.

    Of the prefixes one is shorter; of the rows one has padding in front, one in between, one
    behind. Returns (queries, positions, segments).
    """
    prefix = np.asarray([[0, 1, 2, -1, -1], [0, 1, 2, 3, 4]], np.int32)
    own = np.asarray(
        [[-1, -1, 3, 4, 5, 6], [3, -1, 4, 5, -1, 6], [5, 6, 7, 8, -1, -1], [5, 6, 7, 8, 9, 10]],
        np.int32,
    )

    def segment(positions, seed):
        b, S = positions.shape
        return drawn(b, K, h, S, seed=seed), drawn(b, K, S, h, seed=seed + 1), positions

    return drawn(B, T, H, h), own, [segment(prefix, 1), segment(own, 3)]


def outputs_and_gradients(attention, q, positions, segments, window=NO_WINDOW):
    """What real queries get, and the gradients of it in queries, keys and values."""

    def loss(q, pairs):
        seen = [(*pair, at) for pair, (_, _, at) in zip(pairs, segments, strict=True)]
        mixed = attention(q, positions, seen, window)
        mixed = jnp.where(positions[..., None] >= 0, mixed, 0.0)
        return jnp.sum(jnp.sin(mixed)), mixed

    pairs = [segment[:2] for segment in segments]
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, mixed), gradients = run(q, pairs)
    return mixed, gradients


def test_splash_gives_outputs_and_gradients_of_xla():
    """With padding anywhere, a prefix for every two rows, and two query heads to a key head."""
    given = padded_segments()
    wanted = outputs_and_gradients(attend, *given)
    got = outputs_and_gradients(functools.partial(attend_by, SPLASH, None), *given)
    assert all(float(jnp.abs(leaf).max()) > 0.1 for leaf in jax.tree.leaves(wanted))
    jax.tree.map(close, got, wanted)


@pytest.mark.parametrize("T, before", [(129, 0), (200, 130)])
def test_splash_goes_over_several_blocks(T, before):
    """Rows that fill no multiple of 128, with and without a context that is read, not computed."""
    own = np.broadcast_to(before + np.arange(T, dtype=np.int32), (1, T))
    segments = [(drawn(1, 1, 8, T, seed=1), drawn(1, 1, T, 8, seed=2), own)]
    if before:
        at = np.arange(before, dtype=np.int32)[None]
        context = drawn(1, 1, 8, before, seed=3), drawn(1, 1, before, 8, seed=4), at
        segments = [context, *segments]
    given = drawn(1, T, 2, 8), own, segments
    wanted = outputs_and_gradients(attend, *given)
    got = outputs_and_gradients(functools.partial(attend_by, SPLASH, None), *given)
    jax.tree.map(close, got, wanted)


@pytest.mark.parametrize("window", [NO_WINDOW, 3])
def test_cudnn_is_handed_what_gives_outputs_and_gradients_of_xla(window):
    """Its arguments, run by the plain implementation of the same function of jax."""

    def through_jax(q, positions, segments, window):
        keys, values, slots = context_of(segments, len(q))
        plain = cudnn_attention(q, positions, keys, values, slots, window, implementation="xla")
        return plain.reshape(*positions.shape, -1)

    given = padded_segments()
    wanted = outputs_and_gradients(attend, *given, window)
    jax.tree.map(close, outputs_and_gradients(through_jax, *given, window), wanted)


def groups_of_rows():
    """Two prompts with two answers each, none as long as the next."""
    first, second = [5, 6, 7, 8], [5, 6, 9]
    return [[(first, [1, 2, 3]), (first, [4])], [(second, [3, 2]), (second, [7, 8, 9, 1, 2])]]


def loss_and_gradients(decoder, rows):
    """A sum over the completions' hidden states, and its gradient in an adapter."""
    params = tiny_params(decoder.config)

    def loss(adapter):
        hidden_BxCxD = completion_hidden(decoder, {"params": params, "lora": adapter}, rows)
        return jnp.sum(rows.weights[..., None] * jnp.sin(hidden_BxCxD))

    return jax.jit(jax.value_and_grad(loss))(random_adapter(LORA, config=decoder.config))


@pytest.mark.parametrize("remat", ["none", "dots"])
def test_a_decoder_on_splash_learns_as_one_on_xla(remat):
    rows = group_rows(groups_of_rows(), CONFIG.max_positions)
    decoder = Decoder(CONFIG, LORA, remat=remat)
    on_splash = dataclasses.replace(decoder, attention=SPLASH)
    got, wanted = (loss_and_gradients(each, rows) for each in (on_splash, decoder))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-4), got, wanted)


@pytest.mark.parametrize("remat, forward", [("none", 2), ("dots", 2), ("full", 4)])
def test_remat_keeps_what_the_backward_kernels_read(remat, forward):
    """The forward kernels, of the prefix and of the rows, run again only where nothing is kept."""
    rows = make_rows([row for group in groups_of_rows() for row in group], CONFIG.max_positions)
    decoder = Decoder(CONFIG, LORA, remat=remat, attention=SPLASH)
    program = jax.jit(functools.partial(loss_and_gradients, decoder)).lower(rows).compile()
    kernels = re.findall(r" while\(.*/splash_mha_(fwd|dkv)\w*/while", program.as_text())
    assert (kernels.count("fwd"), kernels.count("dkv")) == (forward, 2)


RULES = (("heads", "tensor"), ("kv_heads", "tensor"))


@pytest.mark.parametrize(
    "sizes, rules",
    [
        ({"data": 2, "fsdp": 2, "tensor": 2}, RULES),
        # Four query heads over as many devices, whose two key heads are whole on each.
        ({"data": 2, "tensor": 4}, (("heads", "tensor"), ("kv_heads", ""))),
    ],
    ids=["2x2x2", "more devices than key heads"],
)
def test_eight_devices_on_splash_learn_as_one_on_xla(sizes, rules):
    layout = Layout(make_mesh(sizes), rules)
    rows = make_rows([row for group in groups_of_rows() for row in group], CONFIG.max_positions)
    wanted = loss_and_gradients(Decoder(CONFIG, LORA), rows)
    spread = rows_of(layout, 1)
    attention = dataclasses.replace(SPLASH, layout=layout)
    decoder = Decoder(CONFIG, LORA, rows=spread, attention=attention)
    got = loss_and_gradients(decoder, spread_rows(rows, spread))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-4), got, wanted)


def test_students_side_by_side_along_the_mesh_learn_as_each_alone():
    """Two students over `data`, rows of each over `fsdp`, heads over `tensor`."""
    layout = Layout(make_mesh({"data": 2, "fsdp": 2, "tensor": 2}), RULES)
    encoded = [row for group in groups_of_rows() for row in group]
    rows, spread = make_rows(encoded, CONFIG.max_positions), rows_of(layout, 2)
    attention = dataclasses.replace(SPLASH, layout=layout)
    decoder = Decoder(CONFIG, LORA, rows=spread, attention=attention)
    params = tiny_params()

    def hidden_of(decoder, adapter, rows):
        return completion_hidden(decoder, {"params": params, "lora": adapter}, rows)

    adapters = [random_adapter(LORA, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)
    every = jax.vmap(functools.partial(hidden_of, decoder), (0, None), spmd_axis_name="data")
    together = jax.jit(every)(stacked, spread_rows(rows, spread))
    for adapter, got in zip(adapters, together, strict=True):
        wanted = jax.jit(hidden_of, static_argnums=0)(Decoder(CONFIG, LORA), adapter, rows)
        close(got * rows.weights[..., None], wanted * rows.weights[..., None])


def test_xla_is_the_default_and_changes_no_program():
    rows = make_rows(groups_of_rows()[0], CONFIG.max_positions)

    def program(decoder):
        return jax.make_jaxpr(functools.partial(loss_and_gradients, decoder))(rows)

    assert Decoder(CONFIG).attention == XLA
    layout = Layout(make_mesh({"data": 2}), RULES)
    named = Decoder(CONFIG, LORA, attention=Attention("xla", layout))
    assert str(program(named)) == str(program(Decoder(CONFIG, LORA)))


@pytest.mark.parametrize(
    "name, told",
    [
        ("flash", "attention=flash: choose from auto, xla, cudnn, splash"),
        ("splash", "attention=splash: needs a TPU, and this is a CPU; use attention=auto"),
        ("cudnn", "attention=cudnn: needs a GPU, and this is a CPU; use attention=auto"),
    ],
)
def test_a_backend_that_cannot_run_here_is_refused(name, told):
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"):
        check_backend(name, jnp.bfloat16)


def test_it_is_refused_before_anything_is_loaded(workdir):
    """The base is not looked for: that there is none would be told else."""
    overrides = ["base=nowhere", "attention=splash"]
    with pytest.raises(UserError, match=r"^attention=splash: needs a TPU"):
        run_experiment(read_config(str(QUICKSTART), overrides), workdir)
    assert not workdir.exists()


def test_what_jax_says_against_cudnn_is_told(monkeypatch):
    """As on a machine with a GPU, but without cuDNN, which is asked before anything runs."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match=r"^attention=cudnn: .*cuDNN.*; use attention=auto$"):
        check_backend("cudnn", jnp.bfloat16, CONFIG)


@pytest.mark.parametrize(
    "platform, windows, chosen, why",
    [
        ("cpu", (None, None), "xla", ""),
        ("tpu", (None, None), "splash", ""),
        ("tpu", (None, 64), "splash", ""),  # as wide as the context: it hides nothing
        ("tpu", (None, 63), "xla", "splash: layer 1 has a sliding window"),
        ("gpu", (None, None), "xla", "cudnn: cuDNN is not detected"),
    ],
)
def test_auto_takes_the_devices_own_or_says_why_not(monkeypatch, platform, windows, chosen, why):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    config = dataclasses.replace(CONFIG, sliding_windows=windows)
    attention, said = choose("auto", jnp.bfloat16, config, None)
    assert (attention.name, said) == (chosen, why)


def test_a_window_that_splash_cannot_keep_is_an_error_that_names_it():
    config = dataclasses.replace(CONFIG, sliding_windows=(None, 8))
    rows = make_rows([([1, 2, 3], [4] * 9)], CONFIG.max_positions)
    told = "attention=splash: layer 1 sees the last 8 positions only, and rows have 14; use"
    with pytest.raises(UserError, match=re.escape(told)):
        loss_and_gradients(Decoder(config, LORA, attention=SPLASH), rows)
    check_windows(SPLASH, config, 8)
    check_windows(XLA, config, 14)
    check_windows(Attention("cudnn"), config, 14)  # its mask says what each layer sees
