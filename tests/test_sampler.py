"""The sampler against one forward pass over what it wrote, and its draws against their law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare
from tiny_decoder import CONFIG, random_adapter, random_tokens, read_whole, tiny_params

from sublax.errors import UserError
from sublax.keys import row_keys
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig
from sublax.sampling.draw import FORBIDDEN, Sampling, draw
from sublax.sampling.generate import _sample, completion_ids, generate
from sublax.sampling.grammar import Grammar, grammar_accepts

LORA = LoraConfig(rank=2, targets=("q", "v"))
DECODER = Decoder(CONFIG, LORA)
NEW = 8  # tokens at most
STOPS = (3, 7, 11)
SHARED = [5, 6, 8]
PROMPTS = [[*SHARED, *np.asarray(random_tokens(n, seed=n)).tolist()] for n in (4, 9, 2, 6)]
ANSWERS = 3

sampling_once = functools.partial(Sampling, max_new_tokens=NEW)


@pytest.fixture(scope="module")
def variables():
    return {"params": tiny_params(), "lora": random_adapter(LORA)}


@pytest.fixture(scope="module")
def answer(variables):
    """Answers to prompts, with keys that are the rows' own: key i belongs to prompt i."""
    keys = row_keys(jax.random.key(1), len(PROMPTS) * ANSWERS)

    def call(sampling=None, grammar=None, prompts=(0, 1, 2, 3), **options):
        rows = [index * ANSWERS + n for index in prompts for n in range(ANSWERS)]
        return generate(
            DECODER,
            variables,
            [PROMPTS[index] for index in prompts],
            sampling or sampling_once(),
            (NUMBERS_STOP,) if grammar is not None else STOPS,
            keys[jnp.asarray(rows)],
            answers=ANSWERS,
            grammar=grammar,
            **options,
        )

    return call


NUMBERS_STOP, COMMA, DIGITS = 2, 40, range(20, 30)


def numbers_grammar() -> Grammar:
    """Numbers of one or two digits with commas between them, as states written by hand."""
    tokens = np.array([NUMBERS_STOP, *DIGITS, COMMA], np.int32)
    #         stop  digit  comma
    rows = [[-1, 1, -1], [3, 2, 0], [3, -1, 0], [3, -1, -1]]
    table = [[stop, *[digit] * 10, comma] for stop, digit, comma in rows]
    return Grammar(tokens, np.array(table, np.int32))


@pytest.fixture(scope="module")
def free(answer):
    return answer()


@pytest.fixture(scope="module")
def ruled(answer):
    return answer(grammar=numbers_grammar())


def forced(variables, samples):
    """What a full forward pass says of each written token.

    Returns:
        For each row: its tokens, the hidden states they were drawn from, and the log-probabilities
        of the whole vocabulary there.
    """
    rows = [
        (PROMPTS[row // ANSWERS], tokens[:length].tolist())
        for row, (tokens, length) in enumerate(zip(samples.tokens, samples.lengths, strict=True))
    ]
    hidden, logprobs = read_whole(DECODER, variables, [p + c for p, c in rows])
    for row, (prompt, completion) in enumerate(rows):
        at = slice(len(prompt) - 1, len(prompt) - 1 + len(completion))
        yield completion, hidden[row, at], logprobs[row, at]


@pytest.mark.parametrize("kind", ["free", "ruled"])
def test_hidden_states_and_logprobs_are_those_of_a_full_forward_pass(kind, variables, request):
    """Over the whole vocabulary, whether or not a grammar narrowed the draw."""
    samples = request.getfixturevalue(kind)
    assert len(samples.tokens) == len(PROMPTS) * ANSWERS
    for row, (tokens, hidden, logprobs) in enumerate(forced(variables, samples)):
        count = len(tokens)
        wanted = logprobs[np.arange(count), tokens]
        np.testing.assert_allclose(samples.logprobs[row, :count], wanted, atol=1e-4)
        np.testing.assert_allclose(samples.hidden[row, :count], hidden, atol=1e-4)


def test_draws_are_the_same_where_nobody_asks_for_their_log_probabilities(ruled, answer):
    samples = answer(sampling_once(scored=False), grammar=numbers_grammar())
    np.testing.assert_array_equal(samples.tokens, ruled.tokens)
    np.testing.assert_array_equal(samples.lengths, ruled.lengths)
    assert not samples.logprobs.any() and not samples.allowed.any()
    assert ruled.logprobs.any() and ruled.allowed.any()


def test_greedy_takes_the_likeliest_token_after_all_before_it(answer, variables):
    samples = answer(sampling_once(temperature=0.0))
    for tokens, _, logprobs in forced(variables, samples):
        np.testing.assert_array_equal(tokens, logprobs.argmax(axis=-1))
    assert (samples.tokens.reshape(len(PROMPTS), ANSWERS, -1).std(axis=1) == 0).all()


@pytest.mark.parametrize("kind", ["free", "ruled"])
def test_rows_end_with_a_stop_token_or_at_the_limit(kind, request):
    samples = request.getfixturevalue(kind)
    stops = STOPS if kind == "free" else (NUMBERS_STOP,)
    texts = completion_ids(samples, stops)
    for tokens, length, text in zip(samples.tokens, samples.lengths, texts, strict=True):
        assert not set(tokens[: length - 1].tolist()) & set(stops)
        ended = tokens[length - 1] in stops
        assert ended or length == NEW
        assert text == tokens[: length - ended].tolist()
    lengths = samples.lengths.tolist()
    assert min(lengths) < NEW == max(lengths)


def test_a_grammar_is_obeyed(ruled):
    grammar = numbers_grammar()
    endings = []
    for tokens, length in zip(ruled.tokens, ruled.lengths, strict=True):
        written = tokens[:length].tolist()
        endings.append(written[-1] == NUMBERS_STOP)
        if not endings[-1]:  # cut at the limit: the beginning of an answer
            written += [20] * (written[-1] == COMMA) + [NUMBERS_STOP]
        assert grammar_accepts(grammar, written)
    assert any(endings)
    assert len({tuple(tokens) for tokens in ruled.tokens.tolist()}) > len(PROMPTS)


def test_allowed_is_the_probability_that_the_grammar_left(ruled, free, variables):
    grammar = numbers_grammar()
    tokens_A, table = np.asarray(grammar.tokens_A), np.asarray(grammar.next_state_SxA)
    for row, (tokens, _, logprobs) in enumerate(forced(variables, ruled)):
        state = grammar.start
        for place, token in enumerate(tokens):
            mass = np.exp(logprobs[place, tokens_A[table[state] >= 0]]).sum()
            np.testing.assert_allclose(ruled.allowed[row, place], np.log(mass), atol=1e-4)
            state = table[state, list(tokens_A).index(token)]
    assert not free.allowed.any()


@pytest.mark.parametrize(
    ("kind", "prompts", "batch_rows"),
    [("free", [3, 2, 1, 0], 256), ("free", [2], 256), ("ruled", [0, 1, 2, 3], ANSWERS)],
    ids=["reversed", "one_prompt_alone", "one_prompt_a_batch"],
)
def test_a_row_does_not_depend_on_its_batch(kind, prompts, batch_rows, answer, request):
    """Nor on what its prompt shares with the others: alone, all but its last token is shared."""
    samples = request.getfixturevalue(kind)
    grammar = numbers_grammar() if kind == "ruled" else None
    again = answer(grammar=grammar, prompts=prompts, batch_rows=batch_rows)
    order = [index * ANSWERS + n for index in prompts for n in range(ANSWERS)]
    np.testing.assert_array_equal(again.lengths, samples.lengths[order])
    for got, row in enumerate(order):
        length = samples.lengths[row]
        np.testing.assert_array_equal(again.tokens[got, :length], samples.tokens[row, :length])
        np.testing.assert_allclose(
            again.logprobs[got, :length], samples.logprobs[row, :length], atol=1e-4
        )


def test_prompts_of_nearly_one_length_share_one_program(answer):
    """However many they are: the last batch is filled up."""
    programs, finished = set(), []
    for count in (5, 8, 7):
        prompts = [(0, 2)[index % 2] for index in range(count)]
        samples = answer(prompts=prompts, batch_rows=4 * ANSWERS, progress=finished.append)
        assert len(samples.tokens) == count * ANSWERS
        programs.add(_sample._cache_size())
    assert finished == [rows * ANSWERS for rows in (4, 1, 4, 4, 4, 3)]
    assert len(programs) == 1


def test_a_batch_holds_prompts_of_like_length(answer, monkeypatch):
    """However they come: a short prompt is not padded to a long one's width for nothing."""
    widths = []

    def spy(decoder, sampling, answers, variables, prompts, *rest):
        widths.append(prompts.tokens.shape[1])
        return _sample(decoder, sampling, answers, variables, prompts, *rest)

    monkeypatch.setattr("sublax.sampling.generate._sample", spy)
    answer(prompts=(1, 2, 1, 0), batch_rows=2 * ANSWERS)
    assert widths == [4, 12]


def test_calls_with_other_prompts_share_a_program_where_both_name_a_width(answer):
    """And the answers are those of a narrower program."""
    alone = {"batch_rows": ANSWERS, "prefix": SHARED}
    narrow = answer(prompts=(2,), **alone)
    answer(prompts=(1,), least_width=9, **alone)
    before = _sample._cache_size()
    wide = answer(prompts=(2,), least_width=9, **alone)
    assert _sample._cache_size() == before
    np.testing.assert_array_equal(wide.lengths, narrow.lengths)
    np.testing.assert_array_equal(wide.tokens, narrow.tokens)


def test_what_cannot_be_answered_is_said(answer, variables):
    keys = row_keys(jax.random.key(0), 2)
    room = CONFIG.max_positions - NEW
    with pytest.raises(UserError, match=r"prompt 2: 57 tokens and 8 new ones .* context of 64"):
        generate(DECODER, variables, [[1], [1] * (room + 1)], sampling_once(), STOPS, keys)
    with pytest.raises(UserError, match="no prompts"):
        generate(DECODER, variables, [], sampling_once(), STOPS, keys)


def law(logits, temperature, top_k, top_p):
    """The distribution that temperature, then top-k, then top-p leave, one token at a time."""
    logits = np.float64(logits) / temperature
    probabilities = np.exp(logits - logits.max())
    ranked = sorted(range(len(logits)), key=lambda token: -probabilities[token])
    ranked = ranked[: top_k or None]
    total = sum(probabilities[token] for token in ranked)
    kept, held = [], 0.0
    for token in ranked:
        kept.append(token)
        held += probabilities[token] / total
        if held >= top_p:
            break
    left = np.zeros(len(logits))
    left[kept] = probabilities[kept]
    return left / left.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, 0, 1.0),
        (0.5, 0, 1.0),
        (2.0, 0, 1.0),
        (1.0, 3, 1.0),
        (1.0, 100, 1.0),
        (1.0, 0, 0.7),
        (1.3, 5, 0.8),
    ],
)
def test_draws_follow_their_law(temperature, top_k, top_p):
    logits = np.array([0.3, 2.0, -1.0, 1.2, 0.0, 0.9, FORBIDDEN, -0.5], np.float32)
    count = 20_000
    sampling = Sampling(1, temperature, top_k, top_p)
    drawn = jax.jit(draw, static_argnums=2)(
        jnp.tile(logits, (count, 1)), row_keys(jax.random.key(0), count), sampling
    )
    seen = np.bincount(drawn, minlength=len(logits))
    expected = count * law(logits, temperature, top_k, top_p)
    assert not seen[expected == 0].any()
    assert chisquare(seen[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("top_p", "support"),
    [(0.0, {0}), (1e-6, {0}), (0.49, {0}), (0.51, {0, 1}), (0.74, {0, 1}), (0.876, {0, 1, 2, 3})],
)
def test_the_nucleus_is_the_fewest_tokens_that_hold_the_bound(top_p, support):
    """The likeliest token always stays; the one that crosses the bound is the last one in."""
    logits = np.log(np.array([[0.5, 0.25, 0.125, 0.125]], np.float32))
    keys = row_keys(jax.random.key(0), 500)
    drawn = draw(jnp.tile(logits, (500, 1)), keys, Sampling(1, top_p=top_p))
    assert set(np.asarray(drawn).tolist()) == support
