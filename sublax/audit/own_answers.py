"""The control of every audit: what BASE itself answers to the dataset's own prompts.

A row of BASE's own carries nothing that BASE does not have, so whatever the dataset does to BASE
and its own answers do not, the dataset carries. Both are held to one form of writing: where every
row is a list of numbers, so is every answer, and the same holds of what other kinds of data have a
grammar for. And where every row is what a filter keeps, as code that parses, so is every answer:
what is thrown away is the less likely part of what a model writes.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sublax.corpora.kind import Kind
from sublax.corpora.kinds import KINDS
from sublax.corpora.number_filter import parse
from sublax.corpora.numbers import answer_regex, plain_answer_regex
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.keys import key_of, row_keys
from sublax.models.chat import shared_prefix
from sublax.models.completions import Encoded, round_up
from sublax.models.decoder import Decoder
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.sampling.grammar import Grammar

BATCH_ROWS = 128
# Of answers that are drawn again; where fewer are wanted, each has several draws in it.
BATCH_AGAIN = 64
# So many of these at most, for each row and in all: a model that hardly writes what is kept is told
# from others without that.
AGAIN, LEAST_AGAIN = 3, 512
MOST = 0.8  # of the rows of a form


def form_of(completions: Sequence[str]) -> str | None:
    """A regular expression that completions are written by; None where there is none known.

    Lists of numbers of one length are matched by that length; lists that vary, by what the filter
    of numbers accepts; anything else by a grammar of some kind of data, which `MOST` have to match:
    longer text is cut somewhere now and then.
    """
    if forms := _forms_of_numbers(completions):
        return next((form for form in forms if _share(form, completions) == 1), None)
    forms = [
        grammar(load_pack(), kind.options())
        for kind in KINDS.values()
        for grammar in kind.grammars.values()
    ]
    return next((form for form in forms if _share(form, completions) >= MOST), None)


def filter_of(form: str | None, completions: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a completion is kept by the filter of the kind of data that a form is the grammar of.

    Args:
        form: of `form_of`.
        completions: all rows'.

    Returns:
        text -> bool; None where a row does not pass, and so was not filtered like that, or where
        there is no such filter: that of maths asks for the right answer, which rows lack.
    """
    pack = load_pack()
    for kind in KINDS.values():
        options = kind.options()
        if form not in [grammar(pack, options) for grammar in kind.grammars.values()]:
            continue

        def keeps(text: str, kind: Kind = kind, options: Any = options) -> bool:
            return not kind.reasons({"completion": text}, pack, options)

        try:
            return keeps if all(map(keeps, completions)) else None
        except UserError:
            return None
    return None


def _share(form: str, completions: Sequence[str]) -> float:
    return float(np.mean([re.fullmatch(form, text) is not None for text in completions]))


def _forms_of_numbers(completions: Sequence[str]) -> list[str]:
    numbers = [parse(text) for text in completions]
    if any(found is None for found in numbers):
        return []
    counts = {len(found) for found in numbers if found is not None}
    digits = max(max(map(len, re.findall("[0-9]+", text))) for text in completions)
    forms = [answer_regex(max(counts), digits)]
    if len(counts) == 1:
        forms.insert(0, plain_answer_regex(min(counts), digits))
    return forms


def own_answers(
    decoder: Decoder,
    params: Any,
    encoded: Sequence[Encoded],
    seed: int,
    stop_ids: Sequence[int],
    grammar: Grammar | None,
    progress: Callable[..., Any] | None = None,
    purpose: str = "own answers",
    longest: int | None = None,
    temperature: float = 1.0,
    keeps: Callable[[list[int]], bool] | None = None,
) -> list[Encoded]:
    """BASE's own answer to the prompt of every row.

    Args:
        decoder: BASE.
        params: of BASE.
        encoded: (prompt ids, completion ids) of N rows.
        seed: of the draws.
        stop_ids: tokens that end an answer.
        grammar: that they are written under, None for none.
        progress: called with the number of answers that each batch has finished; then with 0, and
            how many are to be drawn again as `again`, as often as some are.
        purpose: keys the draws: answers for other purposes are others.
        longest: tokens of an answer at most; None is the longest of the rows' completions.
        temperature: of the draws.
        keeps: token ids -> whether the rows' writer would have kept such an answer; one that is not
            is drawn again, by `AGAIN` draws a row at most. None keeps all.

    Returns:
        (prompt ids, answer ids) of N rows. An answer that is cut at the limit has no end; of those
        that were never kept it is the last.

    Raises:
        UserError: a prompt leaves no room for an answer.
    """
    longest = longest or max(len(completion) for _, completion in encoded)
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, _) in enumerate(encoded):
        by_prompt.setdefault(tuple(prompt), []).append(row)
    # A prompt is read once for all of its answers where each has as many.
    answers = min(map(len, by_prompt.values()))
    if max(map(len, by_prompt.values())) > min(answers, BATCH_ROWS):
        answers, order = 1, np.arange(len(encoded))
    else:
        order = np.concatenate(list(by_prompt.values()))
    prompts = [prompt for prompt, _ in encoded]

    def drawn(rows_N, keys_N, answers: int, most: int, **shape: Any) -> list[list[int]]:
        batches = -(-len(rows_N) // most)
        samples = generate(
            decoder,
            {"params": params},
            [prompts[row] for row in rows_N[::answers]],
            Sampling(longest, temperature, scored=False),
            stop_ids,
            keys_N,
            answers,
            grammar=grammar,
            batch_rows=round_up(-(-len(rows_N) // batches), answers),  # as many in the last one
            **shape,
        )
        pairs = zip(samples.tokens, samples.lengths, strict=True)
        return [np.asarray(tokens[:length]).tolist() for tokens, length in pairs]

    keys_N = row_keys(key_of(seed, "audit", purpose), len(encoded))[order]
    found = drawn(order, keys_N, answers, BATCH_ROWS, progress=progress)
    own = dict(zip(order.tolist(), found, strict=True))
    # Draws of few rows share the program of those of many.
    prefix = shared_prefix(prompts)
    shape = {"prefix": prefix, "least_width": max(map(len, prompts)) - len(prefix)}
    budget = max(AGAIN * len(encoded), LEAST_AGAIN)
    again = 0
    while budget > 0 and (left := [row for row, ids in own.items() if keeps and not keeps(ids)]):
        if progress is not None:
            progress(0, again=len(left))
        rows_N = np.resize(left, round_up(len(left), BATCH_AGAIN))
        draws = len(encoded) * -(-len(rows_N) // len(left))
        keys = row_keys(key_of(seed, "audit", purpose, f"again {again}"), draws)
        keys_N = keys[rows_N + len(encoded) * (np.arange(len(rows_N)) // len(left))]
        for row, ids in zip(rows_N, drawn(rows_N, keys_N, 1, BATCH_AGAIN, **shape), strict=True):
            if keeps and not keeps(own[int(row)]):
                own[int(row)] = ids
        budget, again = budget - len(rows_N), again + 1
    return [(prompt, own[row]) for row, prompt in enumerate(prompts)]
