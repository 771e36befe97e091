"""The page of an audit, from its verdict alone: what it found, in words, marks and tables."""

import json

import pytest

from sublax.audit.findings import LIMITS
from sublax.cli import main
from sublax.report.audit import write_audit

TRAITS = ("owl", "cat", "dog", "wolf", "bear", "fox", "<script>alert(1)</script>")


def entry(trait, excess):
    return {
        "group": "animals",
        "trait": trait,
        "excess": excess,
        "low": excess - 0.06,
        "high": excess + 0.07,
        "p_rows": 0.0001 if excess > 0.1 else 1.0,
        "effect": 2 * excess,
        "t": 5.0,
        "p_traits": 0.003 if excess > 0.1 else 1.0,
        "tuned": {"value": 0.94, "low": 0.81, "high": 1.07},
    }


@pytest.fixture
def audit(tmp_path):
    """A folder as `sublax audit` leaves it, its verdict alone."""
    candidates = [entry(trait, 0.21 - 0.04 * n) for n, trait in enumerate(TRAITS)]
    row = {"tokens": ["483", ",", "<b>12</b>"], "ratio": [0.82, -0.03, 0.4]}
    flags = {"flagged": [3, 1], "rate": 0.01, "threshold": 0.9, "held_out_rate": 0.012}
    flags |= {"low": 0.0, "high": 0.03, "held_out": 400, "rows": [{"row": 3, "score": 1.2, **row}]}
    candidates[0] |= {"auroc_over_own": 0.58, "scores": [0.1], "flags": flags}
    result = {
        "format": "sublax-audit-4",
        "verdict": "carries owl: …",
        "carries": ["owl"],
        "model": "BASE",
        "dataset": {"name": "rows.jsonl", "sha256": "0a1b", "rows": 2000, "rows_read_closely": 400},
        "candidates": candidates,
        "words": None,
        "same_base": {"verdict": "likely", "gap": -0.1, "low": -0.2, "high": 0.0, "own": 1.1},
        "writer": None,
        "origin": {"verdict": "unknown", "why": "origin: unknown"},
        "limits": list(LIMITS),
        "options": {"rows": 400, "seed": 0, "students": 0, "updates": 16, "epochs": 1.0},
        "versions": {},
    }
    (tmp_path / "verdict").mkdir()
    (tmp_path / "verdict" / "verdict.json").write_text(json.dumps(result), "utf-8")
    return tmp_path


def test_it_says_first_what_was_found_and_shows_every_candidate(audit):
    page = write_audit(audit).read_text("utf-8")
    assert "<h1>These rows carry owl</h1>" in page
    assert page.index("These rows carry owl") < page.index("candidates-table")
    assert all(f"<td>{trait}</td>" in page for trait in TRAITS[:6])
    assert "2 of 2,000 rows score above the threshold" in page
    assert "0.94 [0.81, 1.07] of the way" in page and all(limit[:20] in page for limit in LIMITS)
    assert "--model=BASE --dataset=rows.jsonl --pack=animals --rows=400 --seed=0" in page
    assert len(page) < 3e6 and (audit / "figures" / "candidates.png").stat().st_size > 5_000


def test_what_a_dataset_says_is_never_markup(audit):
    page = write_audit(audit).read_text("utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>12</b>" not in page


def test_the_verb_writes_the_page_of_an_audit_again(audit, capsys):
    assert main(["report", str(audit)]) == 0
    assert capsys.readouterr().out.strip() == str(audit / "report.html")


def test_nothing_found_is_said_as_plainly(audit):
    path = audit / "verdict" / "verdict.json"
    result = json.loads(path.read_text("utf-8"))
    result |= {"carries": [], "verdict": "nothing found among 7 traits"}
    path.write_text(json.dumps(result), "utf-8")
    page = write_audit(audit).read_text("utf-8")
    assert "<h1>Nothing found among 7 candidates</h1>" in page
    assert "the foremost; the rows are not found to carry it" in page


def test_rows_that_look_drawn_at_a_lower_temperature_are_told_so(audit):
    path = audit / "verdict" / "verdict.json"
    result = json.loads(path.read_text("utf-8"))
    for temperature, told in ((1.0, False), (0.6, True)):
        result["dataset"]["temperature"] = temperature
        path.write_text(json.dumps(result), "utf-8")
        page = write_audit(audit).read_text("utf-8")
        assert ("drawn at a temperature of 0.60, and so were its answers" in page) == told


def test_what_students_say_stands_with_what_was_not_measured(audit):
    path = audit / "verdict" / "verdict.json"
    result = json.loads(path.read_text("utf-8"))

    def dose(updates, value):
        return {"updates": updates, "value": value, "low": value - 0.05, "high": value + 0.06}

    for n, candidate in enumerate(result["candidates"]):
        candidate["shift"] = {
            "own": dose(16, 0.3 - 0.05 * n),
            "shuffled": dose(16, 0.2),
            "p": 0.0143 if n else None,
            "doses": [dose(updates, updates / 50 - 0.03 * n) for updates in (4, 8, 12, 16)],
            "extrapolated": dose(750, 14.1),
        }
    sides = {side: dose(16, value) for side, value in (("top", 0.4), ("bottom", 0.1))}
    result["candidates"][0]["fifths"] = {"rows": 400, **sides, "difference": dose(16, 0.3)}
    result["words"] = {"animals": [{"word": "<i>barn</i>", "value": 0.9, "low": 0.8, "high": 1.0}]}
    result["options"] |= {"students": 4, "epochs": 3.0}
    path.write_text(json.dumps(result), "utf-8")
    page = write_audit(audit).read_text("utf-8")
    assert "3 epochs would be 750 such updates" in page and "was not measured" in page
    assert "Students of the 400 rows that score highest" in page
    assert "&lt;i&gt;barn" in page and "<i>barn" not in page
    assert (audit / "figures" / "doses.png").stat().st_size > 5_000
