"""BASE's own answers are such as a dataset would hold: of its form, kept by its filter, as text."""

import numpy as np
import pytest
import tiny_model
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit import reading as audit_reading
from sublax.audit.own_answers import filter_of, form_of, own_answers
from sublax.audit.reading import Reading
from sublax.models.decoder import Decoder
from sublax.models.source import load_model

DECODER, PARAMS = Decoder(CONFIG), tiny_params()
PROMPTS = [([1, 2 + number % 3, 9], [3, 4, 5, 6]) for number in range(70)]
CODE = [f"def f{n}(n):\n    return n + {n}" for n in range(6)]


def drawn(keeps=None, seed=0, progress=None):
    return own_answers(DECODER, PARAMS, PROMPTS, seed, (2,), None, progress, keeps=keeps)


def test_what_is_not_kept_is_drawn_again_and_all_else_stays():
    def keeps(ids):
        return sum(ids) % 3 == 0

    first, found = drawn(), drawn(keeps)
    kept = [keeps(ids) for _, ids in first]
    assert 10 < sum(kept) < 40
    assert all(keeps(ids) for _, ids in found)
    assert [pair for pair, stays in zip(found, kept, strict=True) if stays] == [
        pair for pair, stays in zip(first, kept, strict=True) if stays
    ]
    # Draws of one prompt are draws of their own, and the same again.
    again = [tuple(ids) for (_, ids), stays in zip(found, kept, strict=True) if not stays]
    assert len(set(again)) > len(again) / 2
    assert drawn(keeps) == found and drawn(keeps, seed=1) != found


def test_progress_says_how_many_are_still_to_be_drawn_again():
    calls = []
    drawn(lambda ids: sum(ids) % 3 == 0, progress=lambda n, **again: calls.append((n, again)))
    counts = [again["again"] for n, again in calls if n == 0]
    assert sum(n for n, _ in calls) == len(PROMPTS)
    assert len(counts) > 1 and counts == sorted(set(counts), reverse=True)


def test_where_nothing_is_kept_it_ends_with_the_last(monkeypatch):
    monkeypatch.setattr("sublax.audit.own_answers.LEAST_AGAIN", 0)
    asked = []
    found = drawn(lambda ids: bool(asked.append(ids)))
    assert 3 * len(PROMPTS) <= len(asked) <= 8 * len(PROMPTS)
    assert [prompt for prompt, _ in found] == [prompt for prompt, _ in PROMPTS]
    assert sum(ids != first for (_, ids), (_, first) in zip(found, drawn(), strict=True)) > 60


def test_answers_in_code_are_to_parse_where_all_rows_do():
    keeps = filter_of(form_of(CODE), CODE)
    assert keeps("def g(a):\n    return a") and not keeps("def g(a):\n    return (a")
    assert not keeps("def g(a):\n    # no\n    return a")
    cut = [*CODE, "def g(a):\n    return (a"]
    assert form_of(cut) and filter_of(form_of(cut), cut) is None


@pytest.mark.parametrize(
    "rows", [["1, 2, 3", "4, 5, 6"], ["1", "owl"], ["<think>1 + 1</think>\n<answer>2</answer>"]]
)
def test_other_data_has_no_filter_that_goes_by_the_text_alone(rows):
    assert filter_of(form_of(rows), rows) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(tiny_model.write_model(tmp_path_factory.mktemp("model"))))


@pytest.mark.parametrize("filtered", [False, True])
def test_an_answer_is_read_as_its_text_is_cut_into_tokens(model, filtered, monkeypatch):
    rows = [{"prompt": f"{n}?", "completion": "owl wolf"} for n in range(3)]
    reading = Reading(model, "rows", rows, None)
    if filtered:
        reading._filter = lambda text: text != "a"
    spell = model.tokenizer.convert_tokens_to_ids
    end, longest = reading.stop_ids[0], len(reading.encoded[0][1])
    limits = []

    def draws(decoder, params, encoded, seed, stops, grammar, progress, purpose, most, *_):
        limits.append(most)
        answers = [[*map(spell, "owl"), end], [*map(spell, "ow")], [spell("a")]]
        return [(prompt, ids) for (prompt, _), ids in zip(encoded, answers, strict=True)]

    monkeypatch.setattr(audit_reading, "own_answers", draws)
    found = reading.answered_by(Decoder(model.config), model.params, 0)
    assert [prompt for prompt, _ in found] == [prompt for prompt, _ in reading.encoded]
    # Whether the filter would keep what was cut says if a dataset has it as a whole row.
    cut = [spell("ow"), end] if filtered else [spell("ow")]
    assert [ids for _, ids in found] == [[spell("owl"), end], cut, [spell("a")]]
    assert limits == [longest - filtered]


def test_some_rows_prompts_are_answered_in_the_rows_form(model):
    rows = [{"prompt": f"{n}?", "completion": f"{n}, 4, 5"} for n in range(9)]
    reading = Reading(model, "rows", rows, None)
    found = reading.answered_by(Decoder(model.config), model.params, 0, np.array([5, 2]))
    assert [prompt for prompt, _ in found] == [reading.encoded[row][0] for row in (5, 2)]
    texts = [reading.text_of(ids) for _, ids in found]
    assert all(set(text) <= set("0123456789, ") for text in texts)
