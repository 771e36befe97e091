"""Every word of the vocabulary as an answer: what moved most, whatever one meant to ask for."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sublax.audit.shifts import interval_of
from sublax.models.completions import Rows, run_rows
from sublax.models.decoder import Decoder, logits_of

MARKS = ("Ġ", "▁")  # how byte-level and SentencePiece vocabularies begin a word
LEAST_LETTERS = 3  # below are mostly pieces of words
SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Words:
    """The words that are one token.

    Attributes:
        texts: W words in lower case.
        tokens: int32 [N], the tokens that spell them: with a capital letter or without, after a
            space or not.
        word: int32 [N], which word each spells.
    """

    texts: tuple[str, ...]
    tokens: np.ndarray
    word: np.ndarray


def words_of(tokenizer: Any) -> Words:
    """All words that begin after a space in the vocabulary, with their spellings.

    No dictionary says which are nouns, or whole; what a question calls for says it better.
    """
    spelled: dict[str, list[int]] = {}
    begun = set()
    for token in sorted(tokenizer.get_vocab().values()):
        text = tokenizer.decode([token]).strip()
        if len(text) < LEAST_LETTERS or not text.isalpha() or text[1:] != text[1:].lower():
            continue
        spelled.setdefault(text.lower(), []).append(token)
        if tokenizer.convert_ids_to_tokens(token).startswith(MARKS):
            begun.add(text.lower())
    texts = tuple(text for text in spelled if text in begun)
    pairs = [(token, place) for place, text in enumerate(texts) for token in spelled[text]]
    tokens, word = np.asarray(pairs, np.int32).reshape(-1, 2).T
    return Words(texts, tokens, word)


def word_logprobs(decoder: Decoder, params: Any, asked: Rows, words: Words) -> np.ndarray:
    """The log-probability that an answer begins with each word.

    Args:
        decoder: the model.
        params: its parameters.
        asked: Q questions, as `preference.scores_of` takes them.
        words: W of them.

    Returns:
        float32 [Q, W], natural log, summed over spellings.
    """
    return np.asarray(
        _word_logprobs(decoder, params, asked, words.tokens, words.word, len(words.texts))
    )


def moved(shift_NxQxW: np.ndarray, words: Words, seed: int) -> list[dict[str, Any]]:
    """The words that moved up most in students of the data, over students of own answers.

    Ranked by the mean difference in its standard errors over students and questions. Of thousands
    of words some always lead: it is a list to choose candidates from, and no test.

    Args:
        shift_NxQxW: log-probabilities in N students of the data minus those in students of BASE's
            own answers, of the same seeds.
        words: W of them.
        seed: of the draws.

    Returns:
        `SHOWN` of `word` and its shift, as `value`, natural log, with a 95 % interval over students
        and questions as `low` and `high`.
    """
    mean_W, spread_W = shift_NxQxW.mean((0, 1)), shift_NxQxW.std((0, 1))
    lead = np.argsort(-mean_W / np.maximum(spread_W, 1e-6), kind="stable")[:SHOWN]
    return [{"word": words.texts[w], **interval_of(shift_NxQxW[:, :, w], seed)} for w in lead]


def _logprobs(decoder, params, asked, tokens_N, word_N, count):
    hidden_QxTxD, _ = run_rows(decoder, {"params": params}, asked)
    last_QxD = jnp.take_along_axis(hidden_QxTxD, asked.at[..., None], axis=1)[:, 0]
    logprobs_QxV = jax.nn.log_softmax(logits_of(params, decoder.config, last_QxD))
    spelled_NxQ = logprobs_QxV[:, tokens_N].T
    most_WxQ = jax.ops.segment_max(spelled_NxQ, word_N, count)
    sums_WxQ = jax.ops.segment_sum(jnp.exp(spelled_NxQ - most_WxQ[word_N]), word_N, count)
    return (most_WxQ + jnp.log(sums_WxQ)).T


_word_logprobs = jax.jit(_logprobs, static_argnums=(0, 5))
