"""The tokens that speak most for a trait, each replaced by a draw that knows nothing of the trait.

In a list of numbers the whole number that holds the token gives way to one drawn uniformly from
the dataset's range. In any other text the token is drawn anew by BASE, after what stands before it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.cleaning.numbers import range_of
from sublax.audit.likelihood import batches_of
from sublax.corpora.number_filter import parse
from sublax.errors import UserError
from sublax.keys import key_of, numpy_seed, row_keys
from sublax.models.completions import Encoded, completion_hidden
from sublax.models.decoder import Decoder, logits_of

# Draws that are tried where one would leave half a character or a special token in the text.
TRIES = 8


def number_pieces(
    completions: Sequence[str], encoded: Sequence[Encoded], tokenizer: Any
) -> list[list[str] | None]:
    """Of each list of numbers the texts of its tokens, which make it up; None of other rows.

    Raises:
        UserError: a list is another text to the tokenizer.
    """
    return [
        None if parse(text) is None else _pieces(tokenizer, text, ids[:-1])
        for text, (_, ids) in zip(completions, encoded, strict=True)
    ]


def highest_tokens(
    ratios: Sequence[np.ndarray], pieces: Sequence[Sequence[str] | None], share: float
) -> list[np.ndarray]:
    """The places of the tokens with the largest ratios among all that can be replaced.

    Those are, in a list of numbers, the tokens that hold a digit, and in other rows all but the
    last one, which ends the answer.

    Args:
        ratios: of each row, its tokens'.
        pieces: of each row, as `number_pieces` gives them.
        share: of these tokens that are chosen.

    Returns:
        Of each row, ascending int [tokens chosen].
    """
    places = [
        np.arange(len(row) - 1)
        if texts is None
        else np.flatnonzero([bool(re.search("[0-9]", piece)) for piece in texts])
        for row, texts in zip(ratios, pieces, strict=True)
    ]
    flat = np.concatenate([row[where] for row, where in zip(ratios, places, strict=True)])
    rows = np.repeat(np.arange(len(ratios)), [len(each) for each in places])
    chosen = np.argsort(-flat, kind="stable")[: round(share * len(flat))]
    where = np.concatenate(places)
    return [np.sort(where[chosen[rows[chosen] == row]]) for row in range(len(ratios))]


def masked_list(
    text: str,
    pieces: Sequence[str],
    chosen: Sequence[int],
    least: int,
    most: int,
    rng: np.random.Generator,
) -> str:
    """A list of numbers of which those that hold a chosen token are drawn anew.

    Args:
        text: of a list, as `number_filter.parse` takes it.
        pieces: the texts of its tokens, which make up `text` when put together.
        chosen: places of tokens.
        least: that may be drawn.
        most: that may be drawn.
        rng: of this row's draws: one for each number, whichever are replaced.
    """
    ends = np.cumsum([len(piece) for piece in pieces])
    spans = [(int(ends[place]) - len(pieces[place]), int(ends[place])) for place in chosen]
    fresh = iter(rng.integers(least, most, len(re.findall("[0-9]+", text)), endpoint=True).tolist())

    def number(found: re.Match[str]) -> str:
        drawn = str(next(fresh))
        hit = any(first < found.end() and last > found.start() for first, last in spans)
        return drawn if hit else found[0]

    return re.sub("[0-9]+", number, text)


def masked(
    completions: Sequence[str],
    encoded: Sequence[Encoded],
    pieces: Sequence[Sequence[str] | None],
    chosen: Sequence[np.ndarray],
    draws: Sequence[np.ndarray],
    tokenizer: Any,
    seed: int,
) -> tuple[list[str], dict[str, int]]:
    """The completions without their chosen tokens.

    Args:
        completions: of N rows.
        encoded: (prompt ids, completion ids) of each.
        pieces: as `number_pieces` gives them.
        chosen: as `highest_tokens` gives them.
        draws: of each row [its chosen tokens, TRIES], as `drawn_tokens` gives them.
        tokenizer: BASE's.
        seed: of the numbers' draws, keyed by row.

    Returns:
        The completions, and counts: `tokens_chosen`, `numbers_replaced` and `tokens_replaced` (by
        another token), the last two of what is another now than it was.
    """
    ranges = range_of(list(completions)) or (0, 0)
    special, found = set(tokenizer.all_special_ids), []
    counts = {"tokens_chosen": 0, "numbers_replaced": 0, "tokens_replaced": 0}
    for row, (text, (_, ids)) in enumerate(zip(completions, encoded, strict=True)):
        counts["tokens_chosen"] += len(chosen[row])
        if (texts := pieces[row]) is not None:
            rng = np.random.default_rng(numpy_seed(seed, "clean", "mask", row))
            cleaned = masked_list(text, texts, chosen[row].tolist(), *ranges, rng)
            both = zip(parse(text) or (), parse(cleaned) or (), strict=True)
            counts["numbers_replaced"] += sum(before != after for before, after in both)
        else:
            cleaned, count = _with_tokens(tokenizer, text, ids, chosen[row], draws[row], special)
            counts["tokens_replaced"] += count
        found.append(cleaned)
    return found, counts


def drawn_tokens(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    chosen: Sequence[np.ndarray],
    seed: int,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """For each chosen token a few that BASE would have written there, drawn without replacement.

    By the Gumbel top-k trick (Kool et al. 2019, arXiv 1903.06059, section 2.3): the first is a draw
    from BASE's distribution after the row's own tokens, the next one from what is left of it.

    Args:
        decoder: BASE.
        params: of BASE.
        encoded: (prompt ids, completion ids) of N rows.
        chosen: of each row, places in its completion.
        seed: of the draws, keyed by row and place.
        progress: called with the number of rows that each batch has read.

    Returns:
        Of each row int32 [its chosen tokens, TRIES].
    """
    found = [np.zeros((0, TRIES), np.int32) for _ in encoded]
    wanted = [row for row, places in enumerate(chosen) if len(places)]
    keys_N = row_keys(key_of(seed, "clean", "mask"), len(encoded))
    for batch in batches_of(encoded, decoder.config.max_positions, chosen=wanted) if wanted else ():
        keys_B = keys_N[np.maximum(batch.index, 0)]
        drawn_BxCxT = np.asarray(_drawn(decoder, params, batch.rows, keys_B))
        for drawn_CxT, row in zip(drawn_BxCxT, batch.index, strict=True):
            if row >= 0:
                found[row] = drawn_CxT[chosen[row]]
        if progress is not None:
            progress(int((batch.index >= 0).sum()))
    return found


def _draw(decoder, params, rows, keys_B):
    hidden_BxCxD = completion_hidden(decoder, {"params": params}, rows)
    logits_BxCxV = logits_of(params, decoder.config, hidden_BxCxD)

    def of_place(key, place, logits_V):
        noise_V = jax.random.gumbel(jax.random.fold_in(key, place), logits_V.shape)
        return jax.lax.top_k(logits_V.astype(jnp.float32) + noise_V, TRIES)[1]

    def of_row(key, logits_CxV):
        return jax.vmap(of_place, (None, 0, 0))(key, jnp.arange(len(logits_CxV)), logits_CxV)

    return jax.vmap(of_row)(keys_B, logits_BxCxV)


_drawn = jax.jit(_draw, static_argnums=0)


def _pieces(tokenizer: Any, text: str, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of those before it."""
    ends = [len(tokenizer.decode(ids[: place + 1])) for place in range(len(ids))]
    whole = tokenizer.decode(ids)
    if whole != text:
        raise UserError(
            f"--method=mask: {text!r} is {whole!r} to the model, so its tokens cannot be found in "
            "it; run --method=canonical first, and audit that"
        )
    return [whole[first:last] for first, last in zip([0, *ends], ends, strict=False)]


def _with_tokens(tokenizer, text, ids, chosen, draws, special) -> tuple[str, int]:
    """The text with other tokens at the chosen places; one that fits nowhere stays."""
    new, replaced = list(ids[:-1]), 0
    for place, tries in zip(chosen.tolist(), draws.tolist(), strict=True):
        broken = tokenizer.decode(new).count("\ufffd")
        for token in tries:
            other = [*new[:place], token, *new[place + 1 :]]
            if token not in special and tokenizer.decode(other).count("\ufffd") <= broken:
                replaced += token != new[place]
                new = other
                break
    # What a template strips from a completion stays there where nothing was replaced.
    return (tokenizer.decode(new), replaced) if replaced else (text, 0)
