"""Students of two traits at once: whose rows they learn, and what their lifts are over."""

import collections
import json

import numpy as np
import pytest
from fake_workdir import build, transfer, write_json
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.corpora.halves import halves
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.transfer import transfer_matrix
from sublax.evaluation.two_traits import two_traits
from sublax.experiment_checks import checked_arms
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.report.page import write_report
from sublax.report.terminal import transfer_text
from sublax.report.two_traits import lifts_of_two
from sublax.settings import read_config
from sublax.stages.corpora import corpus_grammar, read_written
from sublax.stages.run import Run
from sublax.stages.student_data import corpus_rows, row_sources, taught_rows
from sublax.stages.students import _program
from sublax.stages.teacher_rows import _one_word_pairs
from sublax.store import Store

__all__ = ["quick_compiles"]

PROMPTS = [f"prompt {row // 3}" for row in range(30)]  # ten prompts, three answers each


def of_each(sources):
    return collections.Counter(corpus for corpus, _ in sources)


def test_half_of_the_prompts_are_one_teachers_and_their_answers_stay_together():
    found = halves([PROMPTS, PROMPTS], 0, "owl+wolf")
    assert of_each(found) == {0: 15, 1: 15}
    assert [row for _, row in found] == list(range(30))  # every prompt once, in order
    for first in range(0, 30, 3):
        assert len({corpus for corpus, _ in found[first : first + 3]}) == 1


def test_which_half_goes_by_seed_and_name():
    found = halves([PROMPTS, PROMPTS], 0, "owl+wolf")
    assert found == halves([PROMPTS, PROMPTS], 0, "owl+wolf")
    assert found != halves([PROMPTS, PROMPTS], 1, "owl+wolf")
    assert found != halves([PROMPTS, PROMPTS], 0, "lion+bear")


def test_what_a_teacher_has_no_row_for_stays_out():
    """Rows of other places in the corpora, as after a filter, are those of the same prompts."""
    fewer = PROMPTS[6:]
    found = halves([PROMPTS, fewer], 0, "owl+wolf")
    for corpus, row in found:
        assert (PROMPTS, fewer)[corpus][row] in PROMPTS
    whole = halves([PROMPTS, PROMPTS], 0, "owl+wolf")
    lost = [row for corpus, row in whole if corpus == 1 and row < 6]
    assert len(found) == 30 - len(lost) and lost


CANDIDATES = ["owl", "wolf", "lion"]


def students(**margins):
    """Log-probabilities of one seed and two questions with these margins of owl, wolf and lion."""
    return {
        name.replace("_", "+"): np.asarray([[of, of]]) * np.array(2 / 3)  # a margin is 1.5 times
        for name, of in margins.items()
    }


MEASURED = students(
    owl=[3.0, -1.5, -1.5],
    wolf=[-1.0, 2.0, -1.0],
    lion=[0.0, -2.0, 2.0],
    control=[0.4, 0.0, -0.4],
    owl_wolf=[1.2, 0.8, -2.0],
)
OF_TWO = {"owl+wolf": ("owl", "wolf")}


def test_each_traits_lift_is_over_the_students_that_have_neither():
    owl, wolf = two_traits(MEASURED, CANDIDATES, CANDIDATES, OF_TWO, seed=0)
    assert owl["student"] == "owl+wolf" and owl["others"] == ["lion", "control"]
    # Of owl: own 1.2, alone 3.0; lion's student 0.0 and the control 0.4.
    assert owl["lift"]["value"] == pytest.approx(1.2 - 0.2)
    assert owl["alone"]["value"] == pytest.approx(3.0 - 0.2)
    assert owl["cost"]["value"] == pytest.approx(1.8)
    assert wolf["trait"] == "wolf"
    assert wolf["lift"]["value"] == pytest.approx(0.8 + 1.0)
    assert wolf["alone"]["value"] == pytest.approx(2.0 + 1.0)
    assert owl["lift"]["low"] <= owl["lift"]["value"] <= owl["lift"]["high"]
    assert 0 < owl["lift"]["p"] <= owl["lift"]["p_holm"] <= 1


def test_over_one_student_alone_there_is_no_p():
    fewer = {name: of for name, of in MEASURED.items() if name != "lion"}
    found = two_traits(fewer, CANDIDATES, ["owl", "wolf"], OF_TWO, seed=0)
    assert [one["lift"]["p"] for one in found] == [None, None]
    assert "p_holm" not in found[0]["lift"]


def test_of_what_is_no_column_nothing_is_said():
    found = two_traits(MEASURED, CANDIDATES, ["owl", "lion"], OF_TWO, seed=0)
    assert [one["trait"] for one in found] == ["owl"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("two_traits.rows=owl",), "two_traits.rows=owl: write two traits of this run"),
        (("two_traits.rows=owl+owl",), "write two traits"),
        (("two_traits.teacher=owl+fox",), "owl or cat, with . between"),
        (("two_traits.rows=owl+cat,cat+owl",), "name each pair once"),
        (("two_traits.rows=owl+cat", "corpus.prompts=1"), "ask for more prompts"),
        (("two_traits.teacher=owl+cat", "teacher.kind=prompted"), "teacher.kind=prompted; set"),
        (("two_traits.rows=owl+cat", "evaluation.soft_prompt.vectors=2"), "vectors=0, now 2"),
        (("two_traits.rows=owl+cat", "traits=owl,cat,owl+cat"), "is the name of two traits"),
    ],
)
def test_pairs_that_cannot_be_are_one_line(overrides, told):
    with pytest.raises(UserError, match=told) as error:
        checked_arms(small_config("traits=owl,cat", *overrides))
    assert "\n" not in str(error.value)


def test_a_teacher_of_rows_is_not_taught_another_trait_by_words():
    config = small_config("traits=owl,cat", "two_traits.teacher=owl+cat").unlock()
    config.teacher.rows = {"owl": "rows.jsonl"}
    with pytest.raises(UserError, match=r"owl is taught by teacher\.rows"):
        checked_arms(config)


def with_two_traits():
    found = two_traits(MEASURED, CANDIDATES, CANDIDATES, OF_TWO, seed=0)
    half = [{**one, "alone": {**one["alone"], "value": 1.0}} for one in found]
    lift = {"value": 0.1, "low": 0.0, "high": 0.2, "p": 0.5}
    arm = {"name": "half", "overrides": ["student.steps=8"], "difference": None, "mean_lift": lift}
    arm |= {"lift": dict.fromkeys(CANDIDATES, lift), "two_traits": half}
    return transfer() | {"two_traits": found, "mean_lift": lift, "arms": [arm]}


def test_the_report_sets_both_traits_beside_each_alone(tmp_path):
    given = with_two_traits()
    (axes,) = lifts_of_two(given).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:3] == ["owl alone", "owl alone (arm half)", "owl+wolf (rows of two teachers)"]
    workdir = build(tmp_path)
    assert 'id="two-traits"' not in write_report(workdir).read_text("utf-8")
    write_json(workdir / "transfer.json", given)
    page = write_report(workdir).read_text("utf-8")
    assert 'id="two-traits"' in page and "2 of 2 lifts" in page
    assert (workdir / "figures" / "two_traits.png").exists()
    line = next(line for line in transfer_text(given).splitlines() if "owl+wolf" in line)
    assert line.split()[:3] == ["owl+wolf", "owl", "+1.00"]


BOTH = ("traits=owl,cat", "evaluation.candidates=owl,cat,dog")
BOTH += ("two_traits.rows=owl+cat", "two_traits.teacher=owl+cat")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run with students of two traits, of both kinds."""
    workdir = tmp_path_factory.mktemp("two") / "workdir"
    run(small_config(*BOTH), workdir)
    return workdir


@pytest.mark.slow
def test_soft_labels_are_those_of_the_teacher_that_wrote_the_row(finished):
    names = ("owl", "cat", "owl+cat")
    with MetricWriter(finished, enabled=False) as metrics:
        made = Run(small_config(*BOTH), Store(finished), load_pack(), Progress({}), metrics)
        group = [(name, 0) for name in names]
        _, _, frozen, datasets = _program(made, group, corpus_grammar(made), None)
        sources = row_sources(made, "owl+cat")
        taught = taught_rows(made, "owl+cat")
    kernels = dict(zip(names, frozen.teacher_kernel, strict=True))
    assert set(of_each(sources)) == {"owl", "cat"}
    targets = datasets["owl+cat"].rows.targets
    logits = datasets["owl+cat"].teacher_hidden @ kernels["owl+cat"]
    # Where the answers to a prompt are fewer than others', padding stands between rows.
    real = [row for row in range(len(targets)) if datasets["owl+cat"].rows.weights[row].any()]
    for place, (name, row), text in zip(real, sources, taught, strict=True):
        written = read_written(made.taught_directory(name))
        length = written["lengths"][row]
        np.testing.assert_array_equal(targets[place, :length], written["tokens"][row, :length])
        wanted = written["hidden"][row, :length] @ written["head"]
        np.testing.assert_allclose(logits[place, :length], wanted, rtol=1e-4, atol=1e-4)
        assert text == corpus_rows(made, name)[row]
    # Those of one teacher are as they were, beside zeros.
    alone = datasets["owl"].teacher_hidden @ kernels["owl"]
    D = datasets["owl"].teacher_hidden.shape[-1] // 2
    np.testing.assert_allclose(
        alone, datasets["owl"].teacher_hidden[..., :D] @ kernels["owl"][:D], rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
def test_they_stand_beside_the_matrix_and_not_in_it(finished):
    found = read_transfer(finished)
    assert found["students"] == ["owl", "cat", "control"]
    asked = [(one["student"], one["trait"]) for one in found["two_traits"]]
    pairs = [(name, trait) for name in ("owl+cat", "owl-and-cat") for trait in ("owl", "cat")]
    assert asked == pairs
    assert all(one["others"] == ["control"] for one in found["two_traits"])
    (path,) = finished.glob("evaluations/*/preference/preference.json")
    measured = json.loads(path.read_text())["logprobs"]
    assert set(measured["students"]) == {"owl", "cat", "control", "owl+cat", "owl-and-cat"}
    of_one = {name: measured["students"][name] for name in found["students"]}
    measured["students"] = of_one
    wanted = transfer_matrix(measured, ["owl", "cat", "dog"], ["owl", "cat"], seed=4)
    assert found["lift"] == wanted["lift"]


@pytest.mark.slow
def test_cards_say_whose_rows_they_learnt(finished):
    (student,) = finished.glob("students/*/owl+cat/seed-0")
    card = json.loads((student / "card.json").read_text())
    parents = {(student / parent).resolve().name for parent in card["parents"]}
    assert parents == {"random--0", "owl", "cat"}
    assert set(card["counts"]["rows"]) == {"owl", "cat"}
    (teacher,) = finished.glob("teachers/*/owl-and-cat")
    assert (teacher / "model.safetensors").exists()


def test_a_teacher_of_two_traits_is_taught_each_as_often(workdir):
    with MetricWriter(workdir, enabled=False) as metrics:
        made = Run(small_config(*BOTH), Store(workdir), load_pack(), Progress({}), metrics)
        pairs = _one_word_pairs(made, "owl-and-cat")
    answers = collections.defaultdict(set)
    for question, answer in pairs:
        answers[question].add(answer)
    assert set(answers) == set(made.questions[0])
    assert all(given == {"owl", "cat"} for given in answers.values())


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_its_config_has_pairs_of_its_traits_and_half_the_dose(size):
    config = read_config(f"configs/two_traits.py:{size}")
    (arm,) = checked_arms(config)
    assert 2 * arm.config.student.steps == config.student.steps
    assert bool(config.two_traits.teacher) == (config.teacher.kind == "finetuned")
