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
from sublax.models.completions import Encoded, completion_hidden
from sublax.models.decoder import Decoder, head_kernel
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
    kernels: dict[bool, Any] = {}
    for batch in batches_of(encoded, decoder.config.max_positions, grammar):
        found = _last_hidden(decoder, params, batch.rows, batch.columns, batch.allowed)
        hidden_BxCxD, logprobs_BxC = map(np.asarray, found)
        for place, index in enumerate(batch.index.tolist()):
            if index < 0:
                continue
            length = len(encoded[index][1])
            logprobs[index] = logprobs_BxC[place, :length].copy()
            if index in hidden:
                hidden[index] = hidden_BxCxD[place, :length].copy()
                kernels.setdefault(batch.columns is not None, batch.columns)
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    kernels = {
        formed: jnp.array(head_kernel(params, decoder.config, columns))
        for formed, columns in kernels.items()
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
        kernels = [writer.kernels[batch.columns is not None] for writer in (base, other)]
        temperatures = [writer.temperatures_N[batch.index] for writer in (base, other)]
        given = params, batch.rows, hidden, kernels, batch.columns, batch.allowed, temperatures
        sums_3xB, moved_CxBx3xS = map(np.asarray, _sums(decoder, *given))
        counts_B = batch.index >= 0
        found_3xN[:, batch.index[counts_B]] = sums_3xB[:, counts_B]
        for place, index in enumerate(batch.index.tolist()):
            if index in moved:
                moved_3xTxS = moved_CxBx3xS[: len(encoded[index][1]), place].swapaxes(0, 1)
                moved[index] = moved_3xTxS.reshape(3, -1)
        if progress is not None:
            progress(int(counts_B.sum()))
    return found_3xN, list(moved.values())


def _hidden_and_logprobs(decoder, params, rows, columns, allowed_BxCxA):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    kernel_DxA = head_kernel(params, decoder.config, columns)
    return hidden_BxCxD, logprobs_of_hidden(hidden_BxCxD, kernel_DxA, rows, allowed_BxCxA)


def _found_and_expected(
    decoder, params, rows, hidden, kernels, columns, allowed_BxCxA, temperatures
):
    own_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    heads = [*kernels, head_kernel(params, decoder.config, columns)]

    def logits(hidden_BxD, kernel_DxA):
        kernel_DxA = kernel_DxA.astype(hidden_BxD.dtype)
        return jnp.einsum("bd,da->ba", hidden_BxD, kernel_DxA, preferred_element_type=jnp.float32)

    def at_position(column):
        hidden, targets_B, weights_B, allowed_BxA = column
        base_BxA, other_BxA, teacher_BxA = map(logits, hidden, heads)
        log_BxA, over_BxA = (
            jax.nn.log_softmax(logits_BxA, where=allowed_BxA)
            for logits_BxA in (teacher_BxA, base_BxA)
        )
        ratio_BxA = jnp.where(allowed_BxA, log_BxA - over_BxA, 0.0)
        found_B = jnp.take_along_axis(ratio_BxA, targets_B[:, None], axis=1)[:, 0]
        base_at_B, other_at_B = temperatures
        of_base_BxA, of_other_BxA, of_teacher_BxA = (
            jax.nn.softmax(logits_BxA / temperature_B[:, None], where=allowed_BxA)
            for logits_BxA, temperature_B in (
                (base_BxA, base_at_B),
                (other_BxA, other_at_B),
                (teacher_BxA, other_at_B),
            )
        )
        expected = (
            jnp.sum(chance_BxA * ratio_BxA, axis=-1) for chance_BxA in (of_base_BxA, of_other_BxA)
        )
        likeliest_BxS = jax.lax.top_k(
            jnp.where(allowed_BxA, over_BxA, -jnp.inf), min(LIKELIEST, over_BxA.shape[1])
        )[1]
        moved_Bx3xS = jnp.stack(
            [
                jnp.take_along_axis(array_BxA, likeliest_BxS, axis=1)
                for array_BxA in (
                    of_other_BxA - of_base_BxA,
                    of_teacher_BxA - of_base_BxA,
                    ratio_BxA,
                )
            ],
            axis=1,
        )
        return (weights_B > 0) * jnp.stack([found_B, *expected]), moved_Bx3xS

    if allowed_BxCxA is None:
        allowed_BxCxA = jnp.ones((*rows.targets.shape, 1), bool)
    # One position of every row at a time: logits over a vocabulary are large.
    columns_first = jax.tree.map(
        lambda array: jnp.swapaxes(array, 0, 1),
        ([*hidden, own_BxCxD], rows.targets, rows.weights, allowed_BxCxA),
    )
    sums_Cx3xB, moved_CxBx3xS = jax.lax.map(at_position, columns_first)
    return sums_Cx3xB.sum(axis=0), moved_CxBx3xS


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
