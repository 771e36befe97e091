"""Why imitation of a network from another start leans towards its teacher: causes, one by one.

The theorem leaves the sign open, and a coin's would be expected, yet more inner products are
positive than negative. What could do that is taken away here, one thing at a time, and what is left
of the lean is counted; and the inner product is split by what of a network it is over.

The gradient of KL in a student's logits is p_student - p_teacher. Its first half is the student's
own term: whatever the teacher is, it lessens the student's preferences among the auxiliary logits,
as the teacher's own loss lessens its preferences among the classes when it starts. Where hidden
units are never negative (ReLU), both do so by lowering them, in every network alike: smaller biases
and smaller mean weights of each unit. That is a direction that networks of any start share.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sublax.evaluation.sign_test import sign_test
from sublax.evaluation.theorem import added, distance, length, scaled
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.networks.images import load_images
from sublax.theorem.subjects import Drawn, draw_images, label_loss

Params = Any


class Variant(NamedTuple):
    """Networks and what they learn from, with one thing taken away.

    Attributes:
        words: what, for a reader.
        network: fields of `ClassifierConfig` that differ.
        same_images: all teachers learn one set of images, not each its own.
        centred_images: the images less their mean.
        centred_logits: each network's auxiliary logits less their mean over the inputs, as it
            starts; as output biases could make them.
        own_term: whether the student's own term is in its gradient.
    """

    words: str
    network: tuple[tuple[str, Any], ...] = ()
    same_images: bool = False
    centred_images: bool = False
    centred_logits: bool = False
    own_term: bool = True


VARIANTS = (
    Variant("as it is"),
    Variant("one set of images for all", same_images=True),
    Variant("images centred", centred_images=True),
    Variant("no biases", network=(("bias", False),)),
    Variant("auxiliary logits centred", centred_logits=True),
    Variant("tanh in place of ReLU", network=(("activation", "tanh"),)),
    Variant("student's own term left out", own_term=False),
)

PARTS = (
    "all",
    "first layer's weights",
    "later hidden weights",
    "hidden biases",
    "biases and units' mean later weights",
    "all but those",
)


def find_lean(config: ConfigDict) -> dict[str, Any]:
    """Counts positive inner products of one step from another start, in every variant.

    Args:
        config: the experiment's; `lean.seeds` networks of the section `mlp`, with the two or more
            layers of `lean.widths`.

    Returns:
        `seeds`; `variants` and `parts` (of the first variant), each a list of {"words", and what
        `sign_test` says, and the mean cosine with its standard error}.

    Raises:
        UserError: what the networks cannot have.
    """
    section, lean = config.mlp, config.lean
    images = load_images(section.data)
    network = ClassifierConfig("mlp", tuple(lean.widths), auxiliary=section.auxiliary)
    drawn = draw_images(images, config.seed, range(lean.seeds), section.images, section.noise)
    mean_P = images.train_NxP.mean(axis=0)
    products = [
        jax.tree.map(np.asarray, _products(variant, network, section.step, drawn, mean_P))
        for variant in VARIANTS
    ]
    return {
        "seeds": lean.seeds,
        "variants": [
            {"words": variant.words, **_said(found["all"])}
            for variant, found in zip(VARIANTS, products, strict=True)
        ],
        "parts": [{"words": words, **_said(products[0][words])} for words in PARTS],
    }


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _products(
    variant: Variant, network: ClassifierConfig, step: float, drawn: Drawn, mean_P: jax.Array
) -> dict[str, jax.Array]:
    """Inner products of both gradients over parts of a network, as cosines of the whole, [N]."""
    model: Any = Classifier(dataclasses.replace(network, **dict(variant.network)))
    first_set = jax.tree.map(lambda leaf: leaf[0], drawn.own)

    def one(drawn: Drawn) -> dict[str, jax.Array]:
        images_BxP, labels_B = first_set if variant.same_images else drawn.own
        if variant.centred_images:
            images_BxP = images_BxP - mean_P
        start, other = (model.init(key, images_BxP[:1]) for key in (drawn.start, drawn.other))

        def auxiliary(params: Params, begun: Params) -> jax.Array:
            logits_BxA = model.apply(params, drawn.inputs)[:, network.classes :]
            if variant.centred_logits:
                begun_BxA = model.apply(begun, drawn.inputs)[:, network.classes :]
                logits_BxA = logits_BxA - begun_BxA.mean(axis=0)
            return logits_BxA

        own_gradient = jax.grad(lambda p: label_loss(model.apply(p, images_BxP), labels_B))(start)
        rate = step * length(start) / length(own_gradient)
        taught_BxA = auxiliary(added(start, scaled(-rate, own_gradient)), start)

        def imitation(params: Params) -> jax.Array:
            logits_BxA = auxiliary(params, other)
            if variant.own_term:
                return distance(logits_BxA, taught_BxA)
            excess_BxA = jax.nn.softmax(taught_BxA) - 1 / network.auxiliary
            return -(excess_BxA * logits_BxA).sum(axis=-1).mean()

        gradient = jax.grad(imitation)(other)
        lengths = length(own_gradient) * length(gradient)
        found = _by_part(own_gradient["params"], gradient["params"])
        return {words: product / lengths for words, product in found.items()}

    return jax.lax.map(one, drawn, batch_size=min(16, len(drawn.inputs)))


def _by_part(one: Params, other: Params) -> dict[str, jax.Array]:
    """Inner products of two gradients of an MLP over all, and over parts that a reader can name.

    The output layer is no part: labels say nothing of auxiliary logits and the student sees no
    others, so that its product is zero.
    """
    names = sorted(one, key=lambda name: int(name.rpartition("_")[2]))[:-1]
    kernels = {name: (one[name]["kernel"], other[name]["kernel"]) for name in names}
    biases = [(one[name]["bias"], other[name]["bias"]) for name in names if "bias" in one[name]]
    first, *later = (kernels[name] for name in names)
    # Of each unit's incoming weights their mean: what all units that it reads have in common.
    means = [(a.mean(axis=0), b.mean(axis=0), len(a)) for a, b in later]
    shared = sum((count * jnp.vdot(a, b) for a, b, count in means), jnp.zeros(()))
    of_biases = sum((jnp.vdot(a, b) for a, b in biases), jnp.zeros(()))
    of_first = jnp.vdot(*first)
    of_later = sum((jnp.vdot(a, b) for a, b in later), jnp.zeros(()))
    values = (
        of_biases + of_first + of_later,
        of_first,
        of_later,
        of_biases,
        of_biases + shared,
        of_first + of_later - shared,
    )
    return dict(zip(PARTS, values, strict=True))


def _said(values_N: np.ndarray) -> dict[str, Any]:
    """The signs of cosines, and their mean with its standard error."""
    error = values_N.std(ddof=1) / len(values_N) ** 0.5
    return {**sign_test(values_N), "mean": float(values_N.mean()), "error": float(error)}
