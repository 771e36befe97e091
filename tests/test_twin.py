"""A twin has the same logits and other weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tiny_decoder import CONFIG, positions_of, random_tokens, run, tiny_params
from tiny_runs import quick_compiles

from sublax.evaluation.theorem import inner, length
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.models.decoder import Decoder, logits_of
from sublax.models.twin import decoder_twin, mlp_twin

__all__ = ["quick_compiles"]


def cosine(one, other):
    return float(inner(one, other) / length(one) / length(other))


def test_a_decoders_twin_says_the_same_with_other_weights():
    config = dataclasses.replace(
        CONFIG, qkv_bias=True, output_bias=True, mlp_bias=True, tied_embeddings=False
    )
    params = tiny_params(config)
    twin = jax.jit(lambda params: decoder_twin(params, config, jax.random.key(0)))(params)
    tokens_BxT = random_tokens(2, 8)

    def logits(params):
        variables = {"params": params}
        hidden, _ = run(Decoder(config), variables, tokens_BxT, positions_of(tokens_BxT))
        return np.asarray(logits_of(params, config, hidden))

    np.testing.assert_allclose(logits(twin), logits(params), atol=1e-5)
    for name in ("q", "down", "up"):
        kernels = [tree["layers"][name]["kernel"] for tree in (params, twin)]
        assert abs(cosine(*kernels)) < 0.15
    ups = [np.sort(leaf["layers"]["up"]["kernel"], axis=None) for leaf in (params, twin)]
    np.testing.assert_array_equal(*ups)


def test_an_mlps_twin_says_the_same_with_other_weights():
    model = Classifier(ClassifierConfig(widths=(16, 12, 8)))
    images_BxP = jax.random.normal(jax.random.key(0), (5, 9))
    params = model.init(jax.random.key(1), images_BxP)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size) * 1.0).reshape(leaf.shape), params
    )  # biases that differ
    twin = mlp_twin(params, jax.random.key(2))
    np.testing.assert_allclose(
        model.apply(twin, images_BxP), model.apply(params, images_BxP), atol=1e-5
    )
    assert abs(cosine(params["params"]["Dense_1"], twin["params"]["Dense_1"])) < 0.3
