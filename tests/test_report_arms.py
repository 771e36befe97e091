"""Arms in the report and at the terminal: who makes a curve, and what is written of each."""

import json
import re

import numpy as np
import pytest
from fake_workdir import CONFIG, build, transfer, write_json

from sublax.evaluation.shares import compare
from sublax.report import arms
from sublax.report.charts import lines
from sublax.report.charts.arms import forest
from sublax.report.page import write_report
from sublax.report.terminal import transfer_text


def lift(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "p": 0.01}


def arm(name, *overrides, value=0.3, difference=-0.2):
    """An arm as transfer.json has it."""
    traits = {trait: lift(value) for trait in ("owl", "wolf", "lion")}
    paired = None if difference is None else lift(difference)
    own = {"name": name, "overrides": list(overrides), "lift": traits}
    return own | {"mean_lift": lift(value), "difference": paired}


def with_arms(*given):
    return transfer() | {"mean_lift": lift(0.46), "arms": list(given)}


DOSES = [arm(f"dose-{dose}", f"student.steps={dose}", value=dose / 30) for dose in (8, 0, 2)]


def curves(*given, config=CONFIG):
    found = arms.find_curves(with_arms(*given), config)
    return {(c.key, c.others): [point.at for point in c.points] for c in found}


def test_arms_that_differ_in_one_number_make_a_curve_with_the_main_experiment_on_it():
    assert curves(*DOSES) == {("student.steps", ()): [0, 2, 8, 16]}
    assert curves(*DOSES, config={}) == {("student.steps", ()): [0, 2, 8]}


def test_what_else_arms_set_keeps_them_apart_and_fewer_than_three_make_none():
    grid = [
        arm(f"{rank}-{rate}", f"student.lora.rank={rank}", f"student.rate={rate}")
        for rank in (2, 8)
        for rate in (0.1, 0.2, 0.3)
    ]
    assert curves(*grid, config={}) == {
        ("student.rate", ("student.lora.rank=2",)): [0.1, 0.2, 0.3],
        ("student.rate", ("student.lora.rank=8",)): [0.1, 0.2, 0.3],
    }


def test_words_and_switches_make_no_curve():
    given = [arm(word, f"teacher.kind={word}") for word in ("a", "b", "c")]
    assert curves(*given, arm("r", "corpus.rewritten=true")) == {}


@pytest.mark.parametrize(
    "values, scale",
    [([0, 1, 2, 64], "symlog"), ([1e-4, 1e-3, 1e-2], "log"), ([1, 2, 4], None)],
)
def test_an_axis_over_decades_is_logarithmic_also_where_it_begins_at_zero(values, scale):
    given = [arm(str(value), f"student.steps={value}") for value in values]
    (chart,) = lines.dose_response(arms.find_curves(with_arms(*given), {})).values()
    (x,) = {json.dumps(layer["encoding"]["x"]) for layer in chart.spec["layer"][1:]}
    found = json.loads(x)
    assert found["scale"].get("type") == scale
    assert found["axis"]["values"] == pytest.approx(values)


def forest_rows(transfer):
    """(arm, line) of each dot, from the top."""
    rows = max(forest(transfer).spec["datasets"].values(), key=len)
    return [(row["row"], row["line"]) for row in rows]


def test_an_arm_in_another_unit_stands_in_the_table_and_not_on_the_axis():
    given = with_arms(*DOSES, arm("stories") | {"unit": "percentage points"})
    named = list(dict.fromkeys(name for name, _ in forest_rows(given)))
    assert named == ["main experiment", "dose-8", "dose-0", "dose-2"]
    assert "stories (percentage points)" in transfer_text(given)


def test_the_forest_has_the_mean_and_each_trait_and_of_many_arms_the_means_alone():
    lines_of = ["mean", "owl", "wolf", "lion"]
    assert [line for name, line in forest_rows(with_arms(*DOSES)) if name == "dose-8"] == lines_of
    many = [arm(f"arm {number}") for number in range(20)]
    assert {line for _, line in forest_rows(with_arms(*many))} == {"mean"}


def test_an_arm_of_other_traits_has_no_lift_of_those_it_lacks():
    other = arm("other", "traits=fox,bear", difference=None)
    other["lift"] = {"fox": lift(1.0), "bear": lift(1.0)}
    assert [line for name, line in forest_rows(with_arms(other)) if name == "other"] == [
        "mean", "fox", "bear",
    ]  # fmt: skip
    assert re.search(r"other +\+0\.30 .* – +–", transfer_text(with_arms(other)))


def test_the_page_has_the_arms_their_settings_and_both_figures(tmp_path):
    workdir = build(tmp_path)
    assert 'id="arms"' not in write_report(workdir).read_text("utf-8")
    write_json(workdir / "transfer.json", with_arms(*DOSES))
    page = write_report(workdir).read_text("utf-8")
    assert "<code>student.steps=8</code>" in page
    assert "+0.27" in page and "−0.20" in page
    assert {"arms.png", "dose_student_steps.png"} <= {
        path.name for path in (workdir / "figures").iterdir()
    }
    assert json.loads((workdir / "transfer.json").read_text())["arms"]


def test_the_terminal_lists_the_arms_with_their_difference():
    text = transfer_text(with_arms(*DOSES))
    line = next(line for line in text.splitlines() if "dose-8" in line)
    assert line.split() == [
        "dose-8",
        "+0.27",
        "[+0.17,",
        "+0.37]",
        "0.010",
        "-0.20",
        "[-0.30,",
        "-0.10]",
    ]
    assert "Arms" not in transfer_text(transfer())


def test_what_the_arms_students_answer_in_suites_stands_beside_their_controls(tmp_path):
    named_NxQ = np.zeros((1, 20))
    students = {"owl": named_NxQ + (np.arange(20) % 2), "control": named_NxQ}
    found = compare(np.zeros(20), {}, students, seed=0) | {"questions": 20}
    stories = arm("stories") | {"suites": {"words": {"measures": {"named": found}}}}
    build(tmp_path)
    write_json(tmp_path / "transfer.json", with_arms(arm("plain"), stories))
    page = write_report(tmp_path).read_text("utf-8")
    (table,) = re.findall(
        r'<table class="sortable" id="arms-answers-table">.*?</table>', page, re.S
    )
    (row,) = re.findall(r"<tr><td>stories.*?</tr>", table, re.S)
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall("<td.*?</td>", row, re.S)]
    assert cells[:6] == [
        "stories",
        "words: Answers that name the words",
        "owl",
        "50 %",
        "0.00 %",
        "+50.0",
    ]
    assert "plain" not in table
