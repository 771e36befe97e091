"""At which temperature the rows may have been drawn, by how sharply BASE would have written them.

Writers of datasets often sample below a temperature of 1, and then BASE finds their rows far
likelier than its own answers at 1, whoever they are. What they are held against, its answers and
what it would go on with, must be drawn as they were.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.likelihood import batches_of
from sublax.audit.positions import head_of, logits_of, over_positions
from sublax.keys import numpy_seed
from sublax.models.completions import Encoded, completion_hidden
from sublax.models.decoder import Decoder
from sublax.sampling.grammar import Grammar

# What is tried: what lies below the first is not told from it. Rows that BASE finds less likely
# than its own answers at 1 are not its own at any temperature that people draw at.
GRID = np.round(np.arange(0.2, 1.0001, 0.05), 2)
# Another than 1 must be so much likelier, natural log: 1 in 1,300 sets of rows at 1 are (Wilks).
EVIDENCE = 5.0
# So many rows tell it.
ROWS = 128


def rows_to_fit(encoded: Sequence[Encoded], seed: int) -> list[Encoded]:
    """Some of the rows, `ROWS` or a few more: all that answer one of some prompts drawn at random.

    Args:
        encoded: (prompt ids, completion ids) of N rows.
        seed: of the draw.
    """
    by_prompt: dict[tuple[int, ...], list[Encoded]] = {}
    for row in encoded:
        by_prompt.setdefault(tuple(row[0]), []).append(row)
    groups = list(by_prompt.values())
    found: list[Encoded] = []
    rng = np.random.default_rng(numpy_seed(seed, "audit", "temperature"))
    for place in rng.permutation(len(groups)):
        if len(found) < ROWS:
            found += groups[place]
    return found


def fitted_temperature(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    grammar: Grammar | None,
    progress: Callable[[int], Any] | None = None,
) -> float:
    """The temperature at which BASE would have written rows like these.

    Args:
        decoder: BASE.
        params: of BASE.
        encoded: (prompt ids, completion ids) of N rows.
        grammar: that those are written under which it begins with; others are any text.
        progress: called with the number of rows finished by each batch.

    Returns:
        The maximum of the likelihood over `GRID`, or 1 where that is not `EVIDENCE` better than 1.

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    sums_T = np.zeros(len(GRID))
    for batch in batches_of(encoded, decoder.config.max_positions, grammar):
        found_T = _sums(decoder, params, batch.rows, batch.allowed)
        sums_T += np.asarray(found_T, np.float64)
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    best = int(np.argmax(sums_T))
    return float(GRID[best]) if sums_T[best] > sums_T[-1] + EVIDENCE else 1.0


def _logprobs_by_temperature(decoder, params, rows, allowed):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    kernel_DxA = head_of(params, decoder.config, allowed)

    def at_positions(arrays, allowed_NxA):
        hidden_NxD, targets_N = arrays
        logits_NxA = jnp.where(allowed_NxA, logits_of(hidden_NxD, kernel_DxA), -jnp.inf)
        # Whatever the temperature the greatest stays so: it is sought and taken off once.
        logits_NxA -= logits_NxA.max(axis=1, keepdims=True)
        found_N = jnp.take_along_axis(logits_NxA, targets_N[:, None], axis=1)[:, 0]
        logprobs = [
            found_N / temperature - jnp.log(jnp.exp(logits_NxA / temperature).sum(axis=1))
            for temperature in GRID.tolist()
        ]
        return jnp.stack(logprobs, axis=1)

    logprobs_BxCxT = over_positions(
        at_positions,
        (hidden_BxCxD, rows.targets),
        rows.weights > 0,
        allowed,
        kernel_DxA.shape[1],
    )
    return logprobs_BxCxT.sum(axis=(0, 1))


_sums = jax.jit(_logprobs_by_temperature, static_argnums=0)
