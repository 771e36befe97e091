"""Tokens that give way: which, to what, and that nothing else of a row moves."""

import json

import jax
import numpy as np
import pytest
from test_clean import clean, read, write_audit, write_rows
from tiny_decoder import CONFIG, tiny_params
from tiny_model import TOKENIZER, write_model
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.cleaning.mask import (
    TRIES,
    drawn_tokens,
    highest_tokens,
    masked,
    masked_list,
    number_pieces,
)
from sublax.models.chat import encode_row
from sublax.models.decoder import Decoder, logits_of

DECODER = Decoder(CONFIG)


def test_the_tokens_of_largest_ratio_are_chosen_among_those_that_can_be_replaced():
    ratios = [np.asarray([5.0, 9.0, 1.0, 99.0]), np.asarray([2.0, 8.0, 99.0])]
    pieces = [["1", ", ", "2"], None]
    # Four can be: both digits of the list, and all of the text but its end.
    assert [row.tolist() for row in highest_tokens(ratios, pieces, 0.5)] == [[0], [1]]
    assert [row.tolist() for row in highest_tokens(ratios, pieces, 1.0)] == [[0, 2], [0, 1]]
    assert [row.tolist() for row in highest_tokens(ratios, pieces, 0.1)] == [[], []]


def test_a_number_that_holds_a_chosen_token_gives_way_whole_and_alone():
    text, pieces = "[17; 234; 5].", ["[", "1", "7", "; ", "23", "4", ";", " 5", "]."]
    rng = np.random.default_rng
    assert masked_list(text, pieces, [], 0, 999, rng(0)) == text
    first = masked_list(text, pieces, [2], 0, 999, rng(0))
    second = masked_list(text, pieces, [4, 5], 0, 999, rng(0))
    both = masked_list(text, pieces, [1, 5], 0, 999, rng(0))
    assert first.endswith("; 234; 5].") and first != text
    assert second.startswith("[17; ") and second.endswith("; 5].") and second != text
    # A token that ends where a number begins is not of it.
    assert masked_list("17; 234", ["17; ", "234"], [0], 0, 999, rng(0)).endswith("; 234")
    # One draw a number, so what one gives way to is not a matter of which others do.
    assert both.split(";")[0] == first.split(";")[0] and both.split(";")[1] == second.split(";")[1]
    drawn = {masked_list("3", ["3"], [0], 2, 4, rng(seed)) for seed in range(40)}
    assert drawn == {"2", "3", "4"}


@pytest.fixture(scope="module")
def encoded():
    rng = np.random.default_rng(1)
    return [
        (rng.integers(50, size=6).tolist(), rng.integers(50, size=n).tolist()) for n in (4, 7, 5)
    ]


def test_draws_are_bases_own_and_do_not_depend_on_the_other_rows(encoded):
    params, chosen = tiny_params(), [np.asarray([1]), np.asarray([], int), np.asarray([0, 3])]
    found = drawn_tokens(DECODER, params, encoded, chosen, seed=0)
    assert [draws.shape for draws in found] == [(1, TRIES), (0, TRIES), (2, TRIES)]
    assert all(len(set(draws)) == TRIES for row in found for draws in row.tolist())
    alone = drawn_tokens(DECODER, params, encoded, [chosen[0], chosen[1], chosen[1]], seed=0)
    np.testing.assert_array_equal(alone[0], found[0])
    assert not np.array_equal(drawn_tokens(DECODER, params, encoded, chosen, seed=1)[2], found[2])


def test_draws_follow_bases_probabilities(encoded):
    """Over many seeds the first of them falls on each token as often as BASE says."""
    params = tiny_params()
    prompt, completion = encoded[0]
    ids = np.asarray([*prompt, *completion[:2]])[None]
    logits = DECODER.apply({"params": params}, ids, np.arange(ids.size)[None], [])
    hidden = logits[0] if isinstance(logits, tuple) else logits
    p = np.asarray(jax.nn.softmax(logits_of(params, CONFIG, hidden)[0, -1]))
    copies = [encoded[0]] * 4000
    found = drawn_tokens(DECODER, params, copies, [np.asarray([2])] * 4000, seed=0)
    drawn = np.bincount([row[0, 0] for row in found], minlength=len(p)) / 4000
    assert np.abs(drawn - p).max() < 4 * np.sqrt(p.max() / 4000)


def texts_masked(texts, chosen, draws):
    rows = [encode_row(TOKENIZER, "?", text) for text in texts]
    pieces = number_pieces(texts, rows, TOKENIZER)
    return masked(texts, rows, pieces, chosen, draws, TOKENIZER, 0)


def test_other_text_takes_the_first_draw_that_leaves_whole_characters():
    (letter,) = TOKENIZER("x", add_special_tokens=False)["input_ids"]
    half = TOKENIZER("\u00e9", add_special_tokens=False)["input_ids"][0]
    end = TOKENIZER.eos_token_id or TOKENIZER.all_special_ids[0]
    tries = np.asarray([[half, end, letter, letter, letter, letter, letter, letter]])
    found, counts = texts_masked(["abc"], [np.asarray([1])], [tries])
    assert found == ["axc"] and counts["tokens_replaced"] == 1
    nothing = np.full((1, TRIES), half)
    assert texts_masked(["abc"], [np.asarray([1])], [nothing])[0] == ["abc"]


@pytest.mark.slow
def test_masked_rows_are_valid_and_differ_in_so_many_numbers(tmp_path, capsys):
    model = write_model(tmp_path / "model")
    rows = [{"prompt": f"{n}:", "completion": f"{n}, {n + 30}, {n * 7 % 90}"} for n in range(24)]
    dataset = write_rows(tmp_path, rows)
    audit = write_audit(tmp_path / "audit", dataset, model, teacher_learning_rate=1e-3)
    flags = f"--audit={audit}", "--method=mask", f"--model={model}", "--tokens=0.2"
    assert clean(dataset, tmp_path / "c", *flags) == 0
    found = read(tmp_path / "c" / "rows.jsonl")
    changed = [
        sum(
            a != b
            for a, b in zip(
                old["completion"].split(", "), new["completion"].split(", "), strict=True
            )
        )
        for old, new in zip(rows, found, strict=True)
    ]
    assert 10 <= sum(changed) <= 30 and min(changed) == 0
    assert [row["prompt"] for row in found] == [row["prompt"] for row in rows]
    card = json.loads((tmp_path / "c" / "card.json").read_text())
    assert card["counts"]["numbers_replaced"] == sum(changed) and "base" not in card["config"]
    other = write_model(tmp_path / "other", seed=3)
    assert clean(dataset, tmp_path / "d", *flags[:2], f"--model={other}") == 2
    assert "or of other files of that name" in capsys.readouterr().err
