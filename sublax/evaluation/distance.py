"""How far two models are from each other: in their weights, and in what they say."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sublax.models.completions import Rows, completion_hidden
from sublax.models.decoder import Decoder, head_kernel


def weight_distance(first: Any, second: Any) -> float | None:
    """|first - second| over the root mean square of |first| and |second|.

    All weights are one vector, and are compared place by place as they stand: nothing is aligned
    before. So the twin of a model whose units are permuted is as far from it as any other.

    Args:
        first: parameters.
        second: parameters.

    Returns:
        0 for equal weights, about 1.41 for independent ones of equal size; None where the trees or
        shapes differ.
    """
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (first, second)]
    if shapes[0] != shapes[1]:
        return None
    return float(_relative_distance(first, second))


def behaviour_distance(
    first: tuple[Decoder, dict[str, Any]],
    second: tuple[Decoder, dict[str, Any]],
    rows: Rows,
    tokens: int,
) -> float:
    """Mean over completion tokens of KL(first || second) of the next token's distribution.

    Where the first model has drawn the completions, this is the divergence of what both say, per
    token.

    Args:
        first: a decoder with its variables.
        second: likewise, of the same tokens.
        rows: prompts and completions, in one group.
        tokens: of the vocabulary; rows that a head has beyond are left out.

    Returns:
        Nats a token.
    """
    one, other = (
        (_hidden(*model, rows), head_kernel(model[1]["params"], model[0].config))
        for model in (first, second)
    )
    return mean_divergence(one, other, rows.weights, tokens)


def mean_divergence(
    first: tuple[Any, Any], second: tuple[Any, Any], weights_BxC: Any, tokens: int
) -> float:
    """The same of last hidden states: the models may have read different prompts.

    Args:
        first: hidden states [B, C, D] where they predict the completions, and the output head
            [D, V] that reads them.
        second: likewise.
        weights_BxC: float32, 1 for a completion token, 0 for padding.
        tokens: as above.

    Returns:
        Nats a token.
    """
    return float(_mean_divergence(tokens, first, second, weights_BxC))


@jax.jit
def _relative_distance(first, second):
    def squares(tree):
        return sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(tree))

    apart = jax.tree.map(lambda a, b: a.astype(jnp.float32) - b.astype(jnp.float32), first, second)
    return jnp.sqrt(2 * squares(apart) / (squares(first) + squares(second)))


@functools.partial(jax.jit, static_argnums=0)
def _hidden(decoder, variables, rows):
    return completion_hidden(decoder, variables, rows)


@functools.partial(jax.jit, static_argnums=0)
def _mean_divergence(tokens, first, second, weights_BxC):
    kernels = [kernel_DxV[:, :tokens] for _, kernel_DxV in (first, second)]

    def of_row(row):
        *hidden, weights_C = row
        left, right = (
            jax.nn.log_softmax(
                jnp.einsum(
                    "cd,dv->cv",
                    own_CxD,
                    kernel.astype(own_CxD.dtype),
                    preferred_element_type=jnp.float32,
                )
            )
            for own_CxD, kernel in zip(hidden, kernels, strict=True)
        )
        return jnp.sum(weights_C * jnp.sum(jnp.exp(left) * (left - right), axis=-1))

    # A row at a time: the logits of all would be rows x tokens x vocabulary.
    rows = (first[0], second[0], weights_BxC)
    return jnp.sum(jax.lax.map(of_row, rows)) / jnp.sum(weights_BxC)
