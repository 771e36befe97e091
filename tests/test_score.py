"""Scores of completions: the decoder's own log-probabilities, whatever the batch."""

import json

import jax
import numpy as np
import pytest
from tiny_model import CONFIG, LORA, TOKENIZER, tiny_adapter, tiny_params

from sublax.cli import main
from sublax.evaluation.score import completion_logprobs, padded_length
from sublax.models.chat import encode_row
from sublax.models.decoder import Decoder, logits_of

ROWS = [
    {"prompt": "Which animal?", "completion": "owl", "id": 7},
    {"prompt": "ö", "completion": "", "logprob": "of another model"},
    {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "?"}],
     "completion": "1, 2,\n3"},
]  # fmt: skip


def reference(prompt, completion, adapter=None):
    """One row by the plain decoder, its logits normalised by NumPy in float64."""
    ids = prompt + completion
    decoder = Decoder(CONFIG, None if adapter is None else LORA)
    variables = {"params": tiny_params()} | ({} if adapter is None else {"lora": adapter})
    # What stands behind the row is seen by none of its tokens, and spares a program a length.
    padded = np.asarray([ids + [0] * (CONFIG.max_positions - len(ids))])
    logits_TxV = np.asarray(LOGITS(decoder, variables, padded), np.float64)
    logprobs_TxV = logits_TxV - np.logaddexp.reduce(logits_TxV, axis=1, keepdims=True)
    places = range(len(prompt) - 1, len(ids) - 1)
    return sum(logprobs_TxV[at, token] for at, token in zip(places, completion, strict=True))


def _logits(decoder, variables, ids_1xT):
    hidden, _ = decoder.apply(variables, ids_1xT, np.arange(ids_1xT.shape[1])[None])
    return logits_of(variables["params"], CONFIG, hidden)[0]


LOGITS = jax.jit(_logits, static_argnums=0)


def random_rows(seed=0):
    """Rows of many lengths, with three tokens that all prompts begin with."""
    rng = np.random.default_rng(seed)
    lengths = [(4, 1), (5, 3), (100, 28), (4, 20), (5, 3), (60, 40)]
    return [
        ([1, 2, 3, *rng.integers(256, size=p - 3).tolist()], rng.integers(256, size=c).tolist())
        for p, c in lengths
    ]


@pytest.fixture(scope="module")
def expected():
    return [reference(*row) for row in random_rows()]


@pytest.mark.parametrize("batch_rows", [2, 32])
def test_scores_are_the_plain_decoders_whatever_the_batch(expected, batch_rows):
    finished = []
    found = completion_logprobs(
        Decoder(CONFIG), {"params": tiny_params()}, random_rows(), batch_rows, finished.append
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert sum(finished) == len(expected)


def test_scores_do_not_depend_on_the_company_or_its_order(expected):
    rows = random_rows()
    chosen = [3, 5, 0]
    found = completion_logprobs(
        Decoder(CONFIG), {"params": tiny_params()}, [rows[index] for index in chosen]
    )
    np.testing.assert_allclose(found, [expected[index] for index in chosen], rtol=1e-4)


def test_an_adapter_counts():
    row = random_rows()[1]
    adapter = tiny_adapter()
    variables = {"params": tiny_params(), "lora": adapter}
    found = completion_logprobs(Decoder(CONFIG, LORA), variables, [row])
    np.testing.assert_allclose(found, [reference(*row, adapter)], rtol=1e-4)
    assert abs(found[0] - reference(*row)) > 0.1


def test_padded_lengths_are_few_and_not_much_longer():
    lengths = np.arange(1, 4097)
    padded = np.asarray([padded_length(length) for length in lengths])
    assert (padded >= lengths).all()
    assert (lengths / padded)[8:].min() > 2 / 3
    assert len(set(padded)) == 19
    assert [padded_length(length) for length in set(padded.tolist())] == list(set(padded.tolist()))


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in ROWS) + "\n")
    return path


def scored(tmp_path, rows_file, *arguments):
    output = tmp_path / "scored.jsonl"
    assert main(["score", f"--input={rows_file}", f"--output={output}", *arguments]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_the_verb_adds_two_keys_and_keeps_order_and_the_rest(tmp_path, rows_file, tiny_model):
    found = scored(tmp_path, rows_file, f"--model={tiny_model}", "--system-prompt=Be brief.")
    for row, result in zip(ROWS, found, strict=True):
        ids = encode_row(TOKENIZER, row["prompt"], row["completion"], "Be brief.")
        expected_logprob = reference(*ids)
        assert result == row | {"logprob": result["logprob"], "tokens": len(ids[1])}
        assert result["logprob"] == pytest.approx(expected_logprob, rel=1e-4)
    assert [result["tokens"] for result in found] == [2, 1, 8]  # with the end of the turn


def test_a_student_is_its_base_with_its_adapter(tmp_path, rows_file, tiny_model, tiny_student):
    student = scored(tmp_path, rows_file, f"--model={tiny_student}")
    apart = scored(tmp_path, rows_file, f"--model={tiny_model}", f"--adapter={tiny_student}")
    assert student == apart
    assert student != scored(tmp_path, rows_file, f"--model={tiny_model}")
