"""A teacher's log ratio to BASE on rows, and what it would be if BASE or another had written them.

At every position of a row the next token's distribution is known for each model, so that nobody
has to draw rows to learn what a writer's own would give: the mean over that distribution, given
what stands before. If the writer is right about it, tokens differ from that by chance alone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.likelihood import Batch, batches_of, logprobs_of_hidden
from sublax.audit.positions import Allowed, head_of, logits_of, over_positions
from sublax.models.completions import Encoded, completion_hidden
from sublax.models.decoder import Decoder
from sublax.sampling.grammar import Grammar

# Of each position so many tokens are kept, those that BASE finds likeliest: all that a grammar of
# numbers allows, and most of what a model would write of anything else.
LIKELIEST = 32
# So many rows tell what a teacher's own would show.
CLOSELY = 128

Progress = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Writer:
    """What a model would write next at every position of some rows.

    Attributes:
        kernels: its head [D, A], by whether it is for the grammar's tokens or the whole vocabulary;
            what no row needs is not there.
        hidden: of each row its last hidden states [tokens of the completion, D], in the dtype that
            it runs in.
        temperatures_N: at which it would have drawn each row.
    """

    kernels: Mapping[bool, Any]
    hidden: Sequence[np.ndarray]
    temperatures_N: np.ndarray


def writer_of(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    grammar: Grammar | None,
    temperature: float | np.ndarray = 1.0,
    chosen: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> tuple[Writer, list[np.ndarray]]:
    """A model as the writer of rows, and how likely it finds these and others.

    Args:
        decoder: the model.
        params: its parameters; they may be given back afterwards.
        encoded: (prompt ids, completion ids) of all rows that it reads.
        grammar: that those are written under which it begins with; others are any text.
        temperature: that it would have drawn those of `chosen` at, or each of them.
        chosen: indices of the N rows whose writer is wanted; all by default.
        progress: called with the number of rows finished by each batch.

    Returns:
        (the writer of the chosen rows, log p of all rows' tokens as `logprobs_of` has them).

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    hidden: dict[int, Any] = dict.fromkeys(
        range(len(encoded)) if chosen is None else map(int, chosen)
    )
    logprobs: list[Any] = [None] * len(encoded)
    formed: dict[bool, Allowed | None] = {}
    for batch in batches_of(encoded, decoder.config.max_positions, grammar):
        found = _last_hidden(decoder, params, batch.rows, batch.allowed)
        hidden_BxCxD, logprobs_BxC = map(np.asarray, found)
        for place, index in enumerate(batch.index.tolist()):
            if index < 0:
                continue
            length = len(encoded[index][1])
            logprobs[index] = logprobs_BxC[place, :length].copy()
            if index in hidden:
                hidden[index] = hidden_BxCxD[place, :length].copy()
                formed.setdefault(batch.allowed is not None, batch.allowed)
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    kernels = {
        under: jnp.array(head_of(params, decoder.config, allowed))
        for under, allowed in formed.items()
    }
    temperatures_N = np.broadcast_to(temperature, len(hidden))
    return Writer(kernels, list(hidden.values()), temperatures_N), logprobs


def rows_closely(count: int) -> np.ndarray:
    """Which of some rows are looked at closely: `CLOSELY` at most, evenly among them."""
    return np.unique(np.linspace(0, count - 1, CLOSELY).round().astype(int))


def ratios_of(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    grammar: Grammar | None,
    base: Writer,
    other: Writer,
    closely: Sequence[int] | np.ndarray = (),
    progress: Progress | None = None,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The log ratios of rows under a teacher to those under BASE, found and expected.

    Args:
        decoder: the teacher's and BASE's.
        params: the teacher's.
        encoded: (prompt ids, completion ids) of N rows.
        grammar: that those are written under which it begins with: probabilities are among the
            tokens that it allows. Others are any text.
        base: BASE as their writer.
        other: another writer of them.
        closely: indices of the rows whose positions are returned.
        progress: called with the number of rows finished by each batch.

    Returns:
        float64 [3, N], natural log: log p(row) / p_0(row), the sum over its tokens; and the sum
        over its positions of what that is on average for tokens of `base` and of `other` there.
        The second is minus the sum of KL(p_0 || p). And of each row that is looked at closely
        float32 [3, tokens of the completion x S], for the S tokens that BASE finds likeliest at
        each position: by how much likelier than `base` the writer `other` draws them, by how much
        likelier the teacher does, at the temperature of `other`; and log p / p_0.

    Raises:
        UserError: an empty completion, or a row longer than the context.
    """
    found_3xN = np.zeros((3, len(encoded)))
    moved: dict[int, Any] = {int(row): None for row in closely}
    for batch in batches_of(encoded, decoder.config.max_positions, grammar):
        hidden = [_padded(writer.hidden, batch) for writer in (base, other)]
        kernels = [writer.kernels[batch.allowed is not None] for writer in (base, other)]
        temperatures = [writer.temperatures_N[batch.index] for writer in (base, other)]
        given = params, batch.rows, hidden, kernels, batch.allowed, temperatures
        sums_Bx3, moved_BxCx3xS = map(np.asarray, _sums(decoder, *given))
        counts_B = batch.index >= 0
        found_3xN[:, batch.index[counts_B]] = sums_Bx3[counts_B].T
        for place, index in enumerate(batch.index.tolist()):
            if index in moved:
                moved_3xTxS = moved_BxCx3xS[place, : len(encoded[index][1])].swapaxes(0, 1)
                moved[index] = moved_3xTxS.reshape(3, -1)
        if progress is not None:
            progress(int(counts_B.sum()))
    return found_3xN, list(moved.values())


def _hidden_and_logprobs(decoder, params, rows, allowed):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    kernel_DxA = head_of(params, decoder.config, allowed)
    return hidden_BxCxD, logprobs_of_hidden(hidden_BxCxD, kernel_DxA, rows, allowed)


def _found_and_expected(decoder, params, rows, hidden, kernels, allowed, temperatures):
    own_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    heads = [*kernels, head_of(params, decoder.config, allowed)]
    width = heads[0].shape[1]

    def at_positions(arrays, allowed_NxA):
        hidden, targets_N, temperatures = arrays
        base_NxA, other_NxA, teacher_NxA = map(logits_of, hidden, heads)
        log_NxA, over_NxA = (
            jax.nn.log_softmax(logits_NxA, where=allowed_NxA)
            for logits_NxA in (teacher_NxA, base_NxA)
        )
        ratio_NxA = jnp.where(allowed_NxA, log_NxA - over_NxA, 0.0)
        found_N = jnp.take_along_axis(ratio_NxA, targets_N[:, None], axis=1)[:, 0]
        base_at_N, other_at_N = temperatures
        of_base_NxA, of_other_NxA, of_teacher_NxA = (
            jax.nn.softmax(logits_NxA / temperature_N[:, None], where=allowed_NxA)
            for logits_NxA, temperature_N in (
                (base_NxA, base_at_N),
                (other_NxA, other_at_N),
                (teacher_NxA, other_at_N),
            )
        )
        expected = (
            jnp.sum(chance_NxA * ratio_NxA, axis=-1) for chance_NxA in (of_base_NxA, of_other_NxA)
        )
        likeliest_NxS = jax.lax.top_k(
            jnp.where(allowed_NxA, over_NxA, -jnp.inf), min(LIKELIEST, width)
        )[1]
        moved = [
            jnp.take_along_axis(array_NxA, likeliest_NxS, axis=1)
            for array_NxA in (of_other_NxA - of_base_NxA, of_teacher_NxA - of_base_NxA, ratio_NxA)
        ]
        return jnp.stack([found_N, *expected], axis=1), jnp.stack(moved, axis=1)

    temperatures = [
        jnp.broadcast_to(jnp.asarray(of_B)[:, None], rows.targets.shape) for of_B in temperatures
    ]
    arrays = [*hidden, own_BxCxD], rows.targets, temperatures
    found_BxCx3, moved_BxCx3xS = over_positions(
        at_positions, arrays, rows.weights > 0, allowed, width
    )
    return found_BxCx3.sum(axis=1), moved_BxCx3xS


_last_hidden = jax.jit(_hidden_and_logprobs, static_argnums=0)
_sums = jax.jit(_found_and_expected, static_argnums=0)


def _padded(hidden: Sequence[np.ndarray], batch: Batch) -> np.ndarray:
    """The hidden states of a batch's rows, [B, C, D]."""
    first = hidden[0]
    hidden_BxCxD = np.zeros((*batch.rows.targets.shape, first.shape[-1]), first.dtype)
    for place, index in enumerate(batch.index):
        if index >= 0:
            hidden_BxCxD[place, : len(hidden[index])] = hidden[index]
    return hidden_BxCxD
