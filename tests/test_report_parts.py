"""What the report says of rows, tokens, lineage, and of two runs: its parts, each by itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
from fake_workdir import build, transfer, write_json

from sublax import cli
from sublax.errors import UserError
from sublax.evaluation.statistics import bootstrap_interval
from sublax.report import difference, lineage, tokens
from sublax.report.artifacts import read_cards
from sublax.report.charts import bases, lines
from sublax.report.charts import transfer as of_transfer
from sublax.report.charts.corpora import kept_and_rejected
from sublax.report.charts.lineage import drawing
from sublax.report.matrix import cells_of


def rows_of(chart, key):
    """The rows of data of a chart that have a key."""
    return [row for rows in chart.spec["datasets"].values() for row in rows if key in row]


def test_a_cell_has_its_shift_over_the_others_and_p_where_a_lift_has_one():
    cells = {(cell.student, cell.trait): cell for cell in cells_of(transfer())}
    own, other = cells["owl", "owl"], cells["control", "owl"]
    assert own.over_others == pytest.approx(1.21 - (0.47 + 0.40 + 0.42) / 3)
    assert (own.lift, own.p) == (0.78, 0.0004) and own.own
    assert other.over_others == pytest.approx(0.42 - (1.21 + 0.47 + 0.40) / 3)
    assert (other.lift, other.p, other.own) == (None, None, False)


def test_kept_and_rejected_are_shares_of_what_was_written():
    counts = {
        "owl": {"written": 200, "kept": 150, "rejected": {"too_long": 40, "no_number": 20}},
        "free": {"written": 100, "kept": 100, "rejected": {}},
    }
    cells = rows_of(kept_and_rejected(counts), "strength")
    assert [(cell["row"], cell["text"], cell["below"]) for cell in cells] == [
        ("kept", "75 %", "150"), ("too long", "20 %", "40"), ("no number", "10 %", "20"),
    ]  # fmt: skip
    assert kept_and_rejected({"free": counts["free"]}) is None


def test_lineage_has_every_artifact_below_all_that_it_was_made_from(tmp_path):
    cards = read_cards(build(tmp_path))
    found = lineage.graph(cards)
    at = {node.path: node for node in found.nodes}
    assert {card.path for card in cards} < set(at)
    assert all(at[edge.source].layer < at[edge.target].layer for edge in found.edges)
    of_layer = {node.kind: node.layer for node in found.nodes}
    assert list(of_layer) == ["files", "base", "teacher", "corpus", "student", "evaluation"]
    # A corpus lies below its teacher, a student below its corpus: no line between them crosses.
    owl = [node.place for node in found.nodes if "/owl" in node.path]
    assert len(owl) == 3 and len(set(owl)) == 1
    assert len(rows_of(drawing(found), "middle")) == len(found.nodes)


def test_lineage_marks_what_was_changed_and_knows_what_lies_outside(tmp_path):
    build(tmp_path)
    path = tmp_path / "teachers/SmolLM2-135M-Instruct/owl/card.json"
    path.write_text(path.read_text().replace("19.4", "19.5"))
    (tmp_path / "bases/SmolLM2-135M-Instruct/card.json").unlink()
    found = lineage.graph(read_cards(tmp_path))
    assert [node.label for node in found.nodes if node.changed] == ["owl"]
    assert {node.path for node in found.nodes if node.kind == "outside"} == {
        "bases/SmolLM2-135M-Instruct"
    }
    dashed = [row["tip_0"] for row in rows_of(drawing(found), "dashed") if row["dashed"]]
    base, owl = "bases/SmolLM2-135M-Instruct", "teachers/SmolLM2-135M-Instruct/owl"
    assert sorted(dashed) == [base, owl]


def test_a_chain_that_closes_on_itself_is_drawn_and_does_not_hang(tmp_path):
    for name, parent in (("a", "b"), ("b", "a")):
        content = {"kind": "corpus", "files": {}, "parents": {f"../{parent}": "0" * 64}}
        write_json(tmp_path / name / "card.json", content)
    found = lineage.graph(read_cards(tmp_path))
    assert {node.path for node in found.nodes} == {"a", "b"} and drawing(found).spec


def test_arms_are_left_out_of_a_drawing_that_has_no_room_for_them(tmp_path):
    for number in range(lineage.MOST_ACROSS + 1):
        content = {"kind": "corpus", "files": {}, "parents": {}}
        write_json(tmp_path / f"arms/arm-{number}/corpora/owl/card.json", content)
    write_json(tmp_path / "corpora/owl/card.json", content)
    found = lineage.graph(read_cards(tmp_path))
    assert [node.path for node in found.nodes] == ["corpora/owl"]
    assert found.left_out == lineage.MOST_ACROSS + 1


def test_tokens_take_the_share_of_the_largest_ratio_and_small_ones_stay_pale():
    first, second = tokens.token_rows(
        [{"tokens": ["1", "2"], "ratio": [2.0, -0.5]}, {"tokens": ["3"], "ratio": [-4]}], "a"
    )
    assert [token.strength for token in first.tokens] == [0.5, -0.125]
    assert (first.total, first.strongest.text, second.tokens[0].strength) == (1.5, "1", -1.0)
    (pale,) = tokens.token_rows([{"tokens": ["1"], "ratio": [0.1]}], "a")
    assert pale.tokens[0].strength == pytest.approx(0.1)


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        ('[{"tokens": ["a"]}]', 'row 1: no lists "tokens" and "ratio"'),
        ('[{"tokens": ["a"], "ratio": [1, 2]}]', "1 tokens, 2 ratios"),
        ('[{"tokens": ["a"], "ratio": [NaN]}]', "not a finite number"),
        ('[{"tokens": [1], "ratio": [1]}]', "a token is not a string"),
    ],
)
def test_malformed_ratios_are_one_line(tmp_path, content, words):
    (tmp_path / tokens.FILE).write_text(content)
    with pytest.raises(UserError, match=words):
        tokens.read_token_rows(tmp_path, 4)


def measured(shift, seed):
    """A transfer.json with the answer to each question, `shift` added to owl's own student."""
    values_QxM = np.random.default_rng(seed).standard_normal((6, 2))
    found = transfer() | {"students": ["owl", "control"], "traits": ["owl"], "questions": ["?"] * 6}
    found["shift"], found["interval"] = [[1.0], [0.0]], [[[0.9, 1.1]], [[-0.1, 0.1]]]
    students = {
        name: {"owl": [(values_QxM[:, index] + (shift if name == "owl" else 0.0)).tolist()]}
        for index, name in enumerate(found["students"])
    }
    lift = float(np.mean(students["owl"]["owl"]) - np.mean(students["control"]["owl"]))
    found["lift"] = {"owl": {"value": lift, "low": lift - 1, "high": lift + 1}}
    return found | {"per_question": {"base": {"owl": [0.0] * 6}, "students": students}}


def test_lifts_of_two_runs_are_paired_over_questions():
    one, other = measured(0.0, 1), measured(0.5, 1)
    (found,) = difference.lift_differences(one, other, 0)
    # The same questions with the same answers but for the shift: nothing is left to chance.
    assert found.value == pytest.approx(0.5)
    assert found.interval == pytest.approx((0.5, 0.5))
    (found,) = difference.lift_differences(one, measured(0.5, 2), 0)
    values = [np.subtract(*(run["per_question"]["students"][name]["owl"] for name in
              ("owl", "control"))) for run in (one, measured(0.5, 2))]  # fmt: skip
    assert found.interval == pytest.approx(bootstrap_interval(values[1] - values[0], 0))


def test_runs_that_were_not_asked_the_same_have_a_difference_without_interval():
    one, other = measured(0.0, 1), measured(0.5, 1) | {"questions": ["!"] * 6}
    (found,) = difference.lift_differences(one, other, 0)
    assert found.value == pytest.approx(0.5) and found.interval is None
    assert not difference.comparable(one, other | {"measure": "sampled_share"})


def test_keys_that_differ_are_listed_and_arms_are_not():
    one = {"seed": 1, "student": {"steps": 4, "loss": {"kind": "kl"}}, "arms": {"a": ["seed=2"]}}
    other = {"seed": 1, "student": {"steps": 8, "loss": {"kind": "kl"}, "rank": 2}}
    assert difference.differing_keys(one, other) == [
        ("student.rank", None, 2), ("student.steps", 4, 8),
    ]  # fmt: skip


def test_the_verb_sets_two_runs_side_by_side_and_refuses_what_it_cannot(tmp_path, capsys):
    one, other = build(tmp_path / "one"), build(tmp_path / "other", null=True)
    output = tmp_path / "both.html"
    assert cli.main(["report", str(one), str(other), f"--output={output}"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    page = output.read_text()
    assert "No trait was passed on" in page and "−0.80" in page
    assert cli.main(["report", str(one), str(one)]) == 2
    assert "are the same workdir" in capsys.readouterr().err
    assert cli.main(["report", str(one), f"--output={output}"]) == 2
    write_json(other / "config.json", {"experiment": "theorem"})
    assert cli.main(["report", str(one), str(other)]) == 2
    assert "has no transfer matrix" in capsys.readouterr().err.splitlines()[-1]


def test_bases_are_drawn_pair_by_pair_and_by_both_distances():
    cells = [
        {
            "teacher_base": "a/base",
            "student_base": student,
            "mean_lift": {"value": value, "low": value - 0.1, "high": value + 0.1, "p": 0.01},
            "distance": {"weights": weights, "corpus": kl, "questions": kl},
        }
        for student, value, weights, kl in (
            ("a/base", 1.2, 0.0, 0.0),
            ("permuted:a/base", 0.1, 1.41, 0.0),
            ("b/other", 0.0, None, None),
        )
    ]
    assert bases.has_matrix(cells) and not bases.has_matrix(cells[:1])
    drawn = rows_of(bases.matrix(cells), "row")
    assert [row["row"] for row in drawn] == ["base", "permuted:base", "other"]
    weights, behaviour = (rows_of(one, "at") for one in bases.by_distance(cells).values())
    kinds = [(row["kind"], row["at"]) for row in weights]
    assert kinds == [("the same base", 0.0), ("permuted", 1.41), ("another base", 1.75)]
    assert len(behaviour) == 2  # those of other tokens have no distance in what they say


def test_a_report_is_written_where_there_is_neither_jax_nor_a_display(tmp_path):
    build(tmp_path)
    program = (
        "import sys; sys.modules['jax'] = None\n"
        "from sublax import cli\n"
        f"assert cli.main(['report', {str(tmp_path)!r}]) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "transfer.json").read_text())
    assert (tmp_path / "report.html").exists()


def test_students_of_many_seeds_are_one_node_where_they_have_no_room(tmp_path):
    content = {"kind": "corpus", "files": {}, "parents": {}}
    corpus = write_json(tmp_path / "corpora/owl/card.json", content)
    parents = {}
    for seed in range(lineage.MOST_ACROSS + 1):
        content = {"kind": "student", "files": {}, "parents": {"../../../corpora/owl": corpus}}
        path = f"students/owl/seed-{seed}"
        parents[f"../{path}"] = write_json(tmp_path / path / "card.json", content)
    content = {"kind": "evaluation", "files": {}, "parents": parents}
    write_json(tmp_path / "evaluations/card.json", content)
    found = lineage.graph(read_cards(tmp_path))
    students = f"students/owl ({lineage.MOST_ACROSS + 1} seeds)"
    assert [(node.path, node.layer) for node in found.nodes] == [
        ("corpora/owl", 0), (students, 1), ("evaluations", 2),
    ]  # fmt: skip
    assert sorted(found.edges) == [
        ("corpora/owl", students, "match"), (students, "evaluations", "match"),
    ]  # fmt: skip


def test_many_long_curves_have_fewer_points_each():
    steps = [(step, 1.0) for step in range(500)]
    curves = {f"students/owl/seed-{seed}": {"loss": steps} for seed in range(100)}
    (chart,) = lines.training(curves).values()
    assert len(rows_of(chart, "at")) == lines.MOST_TOGETHER


def wide_transfer(count):
    """A transfer.json of so many traits."""
    traits = [f"trait {number}" for number in range(count)]
    lift = {"value": 0.5, "low": 0.4, "high": 0.6, "p": 0.01}
    return {
        "students": [*traits, "control"],
        "traits": traits,
        "seeds": [0],
        "shift": [[0.1] * count for _ in range(count + 1)],
        "interval": [[[0.0, 0.2]] * count for _ in range(count + 1)],
        "lift": dict.fromkeys(traits, lift),
    }


@pytest.mark.parametrize("count, texts, lines_of", [(3, 2, 4), (12, 1, 2)])
def test_of_many_traits_values_stand_alone_and_students_share_lines(count, texts, lines_of):
    found = wide_transfer(count)
    marks = [layer["mark"]["type"] for layer in of_transfer.matrix(found).spec["layer"]]
    assert marks.count("text") == texts
    dots = rows_of(of_transfer.shifts(found), "line")
    assert len(dots) == count * (count + 1)
    assert len({dot["line"] for dot in dots}) == lines_of
