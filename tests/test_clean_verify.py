"""What cleaning left: equal rows, shares of the data, losses, and the whole on a tiny base."""

import io
import json

import numpy as np
import pytest
from test_clean import clean, write_audit, write_rows
from tiny_decoder import CONFIG, tiny_params
from tiny_model import write_model
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit.audit import Audit
from sublax.audit.candidates import one_against_others, questions_about
from sublax.audit.cleaning.verification import lines_of
from sublax.audit.cleaning.verify import (
    ORIGINAL,
    Measured,
    equal_rows,
    held_out_rows,
    left_of,
    losses_of,
    measured_sets,
    share_kept,
    verified,
)
from sublax.audit.options import Options, stages_of, teachers_of
from sublax.audit.teachers import make_teacher
from sublax.lineage.trace import trace
from sublax.models.decoder import Decoder
from sublax.models.source import load_model
from sublax.progress import Progress
from sublax.report import figures
from sublax.report.cleaning import effect_against_kept

ROWS = [{"prompt": f"{n}:", "completion": f"[{n}; {n + 30}]"} for n in range(40)]


def test_sets_are_of_one_size_of_the_same_originals_and_without_those_held_out():
    held_out = held_out_rows(40, seed=0)
    assert len(held_out) == 5 and held_out == held_out_rows(40, seed=0)
    dropped = [row for row in range(40) if row % 4]
    places = {"original": list(range(40)), "sorted": list(range(40)), "drop": dropped}
    found = equal_rows(places, 40, held_out, seed=0)
    originals = {name: [places[name][row] for row in rows] for name, rows in found.items()}
    assert not any(set(rows) & set(held_out) for rows in originals.values())
    assert originals["original"] == originals["sorted"]
    most = sum(place not in held_out for place in places["drop"])
    assert {len(rows) for rows in found.values()} == {most}
    # What a method leaves no choice about is taken whole.
    assert len(set(originals["drop"])) == most
    assert set(originals["drop"]) <= set(places["drop"])


def test_too_few_rows_are_told_before_anything_is_made(tmp_path, capsys):
    dataset = write_rows(tmp_path, ROWS[:26])
    audit = write_audit(tmp_path / "audit", dataset)
    arguments = "--method=sorted", "--verify", f"--audit={audit}", "--model=no-such-model"
    assert clean(dataset, tmp_path / "c", *arguments) == 2
    assert "--verify: sorted has 23 rows, 3 others held out; an audit" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_kept_is_what_still_stands_in_its_row_in_its_order():
    before = ["[1; 2; 3]", "an owl sat"]
    assert share_kept(before, before, [0, 1]) == 1
    assert share_kept(before, ["1, 2, 3", "an owl sat"], [0, 1]) == 1  # another form of writing
    assert share_kept(before, ["1, 9, 3", "an owl sat"], [0, 1]) == 5 / 6
    assert share_kept(before, ["an owl sat"], [1]) == 0.5
    assert share_kept(before, ["3, 2, 1", "x"], [0, 1]) == 1 / 6


def test_what_is_left_is_a_share_of_an_effect_that_there_was():
    before, after = {"value": 2.0, "low": 1.0, "high": 3.0}, {"value": 1.0, "low": -1.0, "high": 2}
    assert left_of(after, before) == {"value": 0.5, "low": -0.5, "high": 1.0}
    assert left_of(after, before | {"low": -0.1}) is None


def test_a_student_of_rows_like_those_held_out_reads_them_better():
    rng = np.random.default_rng(0)

    def rows(tokens, count):
        return [([1, 2, 3], rng.choice(tokens, 5).tolist()) for _ in range(count)]

    sets = {ORIGINAL: rows([10, 11], 24), "other": rows([40, 41], 24)}
    unseen = rows([10, 11], 8)
    found = losses_of(Decoder(CONFIG), tiny_params(), sets, unseen, 30, seed=0)
    assert {name: loss.shape for name, loss in found.items()} == dict.fromkeys(
        ("base", ORIGINAL, "other"), (8,)
    )
    assert found[ORIGINAL].mean() + 2 < min(found["base"].mean(), found["other"].mean())


def an_effect(value, width=0.5):
    return {"value": value, "low": value - width, "high": value + width}


def a_likeness(alike):
    return {"gap": 0.0 if alike else 0.5, "alike": alike}


@pytest.fixture
def result():
    kept = {ORIGINAL: 1.0, "drop": 0.8, "canonical": 1.0, "renumbered": 0.02}
    values = {ORIGINAL: 2.0, "drop": 0.5, "canonical": 1.9, "renumbered": 0.1}
    measured = {
        name: Measured({"animals/owl": an_effect(value)}, a_likeness(name != "renumbered"))
        for name, value in values.items()
    }
    losses = {name: np.arange(1.0, 9.0) + number / 10 for number, name in enumerate(kept)}
    sets = verified("animals/owl", kept, measured, losses, seed=0)
    return {"trait": "animals/owl", "rows": 99, "held_out": 8, "sets": sets}


def test_the_table_says_what_is_left_and_lost(result):
    assert result["sets"]["drop"]["left"]["value"] == 0.25
    assert result["sets"]["canonical"]["lost"] == pytest.approx(an_effect(0.2, 0))
    table = lines_of(result)
    assert len(table) == 7
    assert "25% [0%, 50%]" in table[3] and "+0.200 [+0.200, +0.200]" in table[4]
    assert table[2].endswith("  yes") and table[5].endswith("  no: 0.50 nats a token less likely")
    assert table[6].startswith("renumbered: rows unlike BASE's own answers")
    entry = result["sets"][ORIGINAL]
    entry["left"] = None
    assert "show no effect of animals/owl above zero" in lines_of(result)[-1]


def test_the_figure_has_every_set_at_its_place_with_its_interval(result):
    (axes,) = effect_against_kept(result).axes
    assert [text.get_text() for text in axes.texts] == list(result["sets"])
    points = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    assert [float(line.get_ydata()[0]) for line in points] == [2.0, 0.5, 1.9, 0.1]
    at = [float(line.get_xdata()[0]) for line in points]
    np.testing.assert_allclose(at, [1.0, 0.8, 1.0, 0.02], atol=0.03)
    assert at[0] != at[2]  # neither covers the other
    hollow = [point.get_color() == figures.SURFACE for point in points]
    assert hollow == [False, False, False, True]  # what is no measure of the trait


def test_copies_are_verified_and_the_verification_is_found_again(tmp_path, capsys, monkeypatch):
    model = write_model(tmp_path / "model")
    dataset = write_rows(tmp_path, ROWS)
    audit = write_audit(tmp_path / "audit", dataset, model, flagged=(0, 3, 5), updates=2)
    measured = {}

    def counted(model, decoder, sets, group, options, folder):
        """In the audit's place: how many rows, and how many of them are in brackets."""
        assert group.traits == ("owl", "cat", "wolf", "dog", "fox", "bear")
        measured.update(sets)
        brackets = {
            name: sum(row["completion"].startswith("[") for row in rows)
            for name, rows in sets.items()
        }
        return {
            name: Measured(
                {f"animals/{trait}": an_effect(count) for trait in group.traits}, a_likeness(True)
            )
            for name, count in brackets.items()
        }

    monkeypatch.setattr("sublax.audit.cleaning.verification.measured_sets", counted)
    command = f"--audit={audit}", f"--model={model}", "--trait=owl", "--verify"
    methods = "--method=drop,renumbered"
    assert clean(dataset, tmp_path / "c", *command, methods) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "verification" / "verification.json").read_text())
    assert list(found["sets"]) == [ORIGINAL, "drop", "renumbered"] == list(measured)
    assert {len(rows) for rows in measured.values()} == {found["rows"]}
    assert 40 - 3 - 5 <= found["rows"] <= 40 - 5 == 40 - found["held_out"]
    assert not {row["prompt"] for row in measured["drop"]} & {"0:", "3:", "5:"}
    assert measured[ORIGINAL] != measured["drop"]
    assert found["sets"]["drop"]["kept"] == 37 / 40 and found["sets"]["renumbered"]["kept"] < 0.5
    assert found["sets"]["drop"]["left"]["value"] == 1
    assert found["sets"]["renumbered"]["left"]["value"] == 0
    assert found["sets"][ORIGINAL]["lost"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert told.rstrip().endswith("verification.png")
    lineage = trace(tmp_path / "c" / "verification")
    assert {edge.parent for edge in lineage.parents("verification")} == {"../drop", "../renumbered"}
    assert clean(dataset, tmp_path / "c", *command, methods) == 0
    again = capsys.readouterr()
    assert again.err.count("done before") == 3 and told == again.out
    assert clean(dataset, tmp_path / "c", *command, "--method=renumbered") == 2
    assert "verifies other copies" in capsys.readouterr().err


def test_base_and_the_teacher_of_no_trait_write_at_temperatures_of_their_own(tmp_path, monkeypatch):
    model = load_model(str(write_model(tmp_path / "model")))
    decoder, options = Decoder(model.config), Options(teacher_steps=1, system_prompt="")
    group = one_against_others(
        "animals", list("abcd"), ("owl", "cat", "wolf", "dog", "fox", "bear")
    )
    monkeypatch.setattr("sublax.audit.baseline.fitted_temperature", lambda *args: 0.6)
    monkeypatch.setattr(
        "sublax.audit.audit.fitted_temperature",
        lambda decoder, params, *args: 0.6 if params is model.params else 0.5,
    )
    given = []
    monkeypatch.setattr(
        "sublax.audit.audit.ratios_of",
        lambda *args: given.append(args[4:6]) or (np.zeros((3, len(ROWS))), [np.zeros((3, 1))]),
    )
    progress = Progress(stages_of([group], options), stream=io.StringIO())
    audit = Audit(model, decoder, "rows", ROWS, [group], options, tmp_path / "a", progress)
    _ = audit.baseline.temperature
    audit.meet_neutral(group)
    audit.scored(group, next(iter(teachers_of(group))))
    ((base, neutral),) = given
    assert set(base.temperatures_N) == {0.6} and set(neutral.temperatures_N) == {0.5}


def test_sets_share_teachers_and_each_is_measured_as_by_an_audit_of_its_own(tmp_path, monkeypatch):
    model = load_model(str(write_model(tmp_path / "model")))
    decoder, options = Decoder(model.config), Options(teacher_steps=2, system_prompt="")
    traits = ("owl", "cat", "wolf", "dog", "fox", "bear")
    group = one_against_others("animals", questions_about("animal"), traits)
    sets = {"original": ROWS, "sorted": [row | {"completion": "[1; 2]"} for row in ROWS]}
    made = []
    monkeypatch.setattr(
        "sublax.audit.teachers.make_teacher",
        lambda *args: made.append(args[2]) or make_teacher(*args),
    )
    found = measured_sets(model, decoder, sets, group, options, tmp_path / "shared")
    assert len(made) == 1 + len(traits)
    assert list(found) == ["original", "sorted"]
    progress = Progress(stages_of([group], options), stream=io.StringIO())
    folder = tmp_path / "alone"
    alone = Audit(model, decoder, "sorted", sets["sorted"], [group], options, folder, progress)
    assert found["sorted"].effects == {
        f"animals/{entry['trait']}": {
            "value": entry["excess"],
            "low": entry["low"],
            "high": entry["high"],
        }
        for entry in alone.candidates()[0]
    }
    assert found["sorted"].likeness == alone.baseline.likeness
    # Each set is held against answers in its own form: the original's have brackets.
    forms = {
        name: json.loads((tmp_path / "shared" / name / "answers" / "answers.json").read_text())
        for name in sets
    }
    assert forms["original"]["form"] != forms["sorted"]["form"]
    made.clear()
    assert measured_sets(model, decoder, sets, group, options, tmp_path / "shared") == found
    assert not made
