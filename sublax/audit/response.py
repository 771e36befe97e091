"""What the rows would do to BASE, to first order: students that take one step of no length.

Of each part of the dataset: the gradient of its log-likelihood minus that of BASE's own answers to
the same prompts, scaled as Adam's first updates scale it, and the derivative of every trait's
margin along that direction. One gradient and one forward pass a part serve all traits, and nothing
drifts as a student does. To first order in the learning rate it is the shift of a student of the
part over a student of the own answers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.candidates import Asked
from sublax.audit.likelihood import batch_gradient, batches_of, gradient_of
from sublax.evaluation.preference import scores_of
from sublax.keys import numpy_seed
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder

# Rows that the scale of each parameter's gradient is measured on, a batch an update.
SCALE_ROWS = 96
# A parameter whose gradient is hardly ever above zero says nothing of its scale: all are damped by
# this quantile of those that are.
DAMPING = 0.3


def parts_of(count: int, parts: int, seed: int) -> list[np.ndarray]:
    """Disjoint parts of `count` rows, drawn at random, alike in size but for one row."""
    order = np.random.default_rng(numpy_seed(seed, "audit", "parts")).permutation(count)
    return [np.sort(part) for part in np.array_split(order, parts)]


def gradient_scale(
    decoder: Decoder,
    params: Any,
    own: Sequence[Encoded],
    columns: np.ndarray | None,
    seed: int,
    progress: Callable[[int], Any] | None = None,
) -> Any:
    """1 / the root of each parameter's mean squared gradient on a few of the own answers.

    It is Adam's second moment before anything is learnt (Kingma and Ba, arXiv 1412.6980), so the
    directions that it scales are those of a student's first updates.

    Args:
        decoder: BASE.
        params: of BASE.
        own: (prompt ids, answer ids) of BASE's own answers.
        columns: as in `likelihood.logprobs_of`.
        seed: of the rows that are drawn.
        progress: called with the number of rows read.

    Returns:
        A tree like the parameters.
    """
    order = np.random.default_rng(numpy_seed(seed, "audit", "scale")).permutation(len(own))
    total, updates = jax.tree.map(jnp.zeros_like, params), 0
    for batch in batches_of(own, decoder.config.max_positions, columns, order[:SCALE_ROWS]):
        total = _add_squares(total, batch_gradient(decoder, params, batch, columns))
        updates += 1
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    # A few of each leaf's: the quantile of all of them would be sorted for seconds.
    leaves = [
        np.asarray(leaf).ravel()[:: max(leaf.size // 2**16, 1)] for leaf in jax.tree.leaves(total)
    ]
    squares = np.concatenate(leaves)
    damping = float(np.quantile(squares[squares > 0], DAMPING))
    return jax.tree.map(lambda leaf: jax.lax.rsqrt((leaf + damping) / updates), total)


def responses(
    decoder: Decoder,
    params: Any,
    data: Sequence[Encoded],
    own: Sequence[Encoded],
    parts: Sequence[np.ndarray],
    scale: Any,
    asked: Sequence[Asked],
    columns: np.ndarray | None,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """The derivative of every trait's margin along each part's direction.

    Args:
        decoder: BASE.
        params: of BASE.
        data: (prompt ids, completion ids) of N rows.
        own: BASE's own answers to the same prompts, in the same order.
        parts: which rows are in each of P parts.
        scale: of each parameter, as `gradient_scale` gives it.
        asked: the groups of traits.
        columns: as in `likelihood.logprobs_of`.
        progress: called with the number of rows and answers read.

    Returns:
        For each group float32 [P, Q, K], in natural log for a step by the scaled gradient of the
        mean log-likelihood of a token.
    """
    found: list[list[np.ndarray]] = [[] for _ in asked]
    every = [*data, *own]
    for part in parts:
        both = np.concatenate([part, len(data) + part])
        weights = np.zeros(len(every), np.float32)
        weights[part] = 1 / sum(len(data[row][1]) for row in part)
        weights[len(data) + part] = -1 / sum(len(own[row][1]) for row in part)
        gradient = gradient_of(decoder, params, every, weights, columns, both, progress)
        direction = _scaled(gradient, scale)
        for group, margins in zip(asked, found, strict=True):
            margins.append(
                np.asarray(
                    _margin_slopes(
                        decoder, params, direction, group.rows, group.answers, group.weights_QxMxK
                    )
                )
            )
    return [np.stack(margins) for margins in found]


def margins_of(decoder: Decoder, params: Any, asked: Asked):
    """Every trait's margin by question, float32 [Q, K], natural log."""
    return _margins(decoder, params, asked.rows, asked.answers, asked.weights_QxMxK)


def _margins(decoder, params, rows, answers, weights_QxMxK):
    scores_QxM = scores_of(decoder, {"params": params}, rows, answers)
    return jnp.einsum("qm,qmk->qk", scores_QxM, weights_QxMxK)


def _slopes(decoder, params, direction, rows, answers, weights_QxMxK):
    def margins(params):
        return _margins(decoder, params, rows, answers, weights_QxMxK)

    return jax.jvp(margins, (params,), (direction,))[1]


_margin_slopes = jax.jit(_slopes, static_argnums=0)
_scaled = jax.jit(lambda tree, scale: jax.tree.map(jnp.multiply, tree, scale), donate_argnums=0)
_add_squares = jax.jit(
    lambda total, new: jax.tree.map(lambda a, b: a + b * b, total, new), donate_argnums=0
)
