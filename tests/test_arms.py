"""Arms: one config runs an experiment and its variations, and what they share is made once."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax import experiment
from sublax.artifact import verify
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.arms import arm_result, mean_lifts
from sublax.evaluation.transfer import transfer_matrix
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.stages import arms as arms_module
from sublax.stages.arms import arms_of
from sublax.stages.corpora import read_written
from sublax.stages.run import Run
from sublax.stages.student_data import student_datasets
from sublax.store import Store

__all__ = ["quick_compiles"]

TWO = {"dose-0": ("student.steps=0",), "dose-2": ("student.steps=2",)}


def config_with(arms, *overrides):
    config = ConfigDict(small_config(*overrides).to_dict())
    config.arms = arms
    return config.lock()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run with two arms; not to be written to."""
    workdir = tmp_path_factory.mktemp("finished") / "workdir"
    run(config_with(TWO), workdir)
    return workdir


@pytest.fixture
def copy(finished, workdir):
    """The same, to be written to."""
    shutil.copytree(finished, workdir)
    return workdir


def made_at(workdir):
    """When each artifact was made."""
    return {
        path.parent.relative_to(workdir).as_posix(): path.stat().st_mtime_ns
        for path in workdir.rglob("card.json")
    }


def shared(config, *overrides):
    return arms_of(ConfigDict({**config.to_dict(), "arms": {"x": overrides}}))[0].shared


def test_an_arm_has_of_its_own_what_its_overrides_touch_and_nothing_else(finished):
    own = {folder.split("/")[2] for folder in made_at(finished) if folder.startswith("arms/")}
    assert own == {"students", "evaluations"}
    for folder in made_at(finished):
        assert verify(finished / folder) == []
    card = json.loads(
        (finished / "arms/dose-2/students/random--0/owl/seed-0/card.json").read_text()
    )
    corpus = finished / "arms/dose-2/students/random--0/owl/seed-0"
    assert {(corpus / parent).resolve() for parent in card["parents"]} == {
        (finished / place).resolve() for place in ("bases/random--0", "corpora/random--0/owl")
    }


def test_an_arm_makes_anew_only_those_whom_its_overrides_touch(tmp_path):
    """What the control is matters to it alone; how many rows are clean, to all but it."""
    overrides = "student.loss.kind=cross_entropy", "student.steps=1"
    unmarked = "teacher.control=base"
    arms = {"unmarked": (unmarked,), "mixed": ("student.clean_share=0.5",)}
    workdir = tmp_path / "workdir"
    run(config_with(arms, *overrides), workdir)
    made = {folder.removeprefix("arms/") for folder in made_at(workdir) if "arms/" in folder}
    of_control = ("teachers/random--0/control", "corpora/random--0/control")
    assert made == {
        *(f"unmarked/{folder}" for folder in of_control),
        "unmarked/students/random--0/control/seed-0",
        "mixed/students/random--0/owl/seed-0",
        *(f"{arm}/evaluations/random--0/preference" for arm in arms),
    }
    run(small_config(*overrides, unmarked), tmp_path / "alone")
    arm, alone = (read_transfer(of) for of in (workdir / "arms/unmarked", tmp_path / "alone"))
    # Students are rounded otherwise in a program of other students.
    np.testing.assert_allclose(arm["shift"], alone["shift"], atol=1e-4)


def test_of_two_sources_an_arm_takes_the_one_that_leaves_less_to_make():
    tokens = "student.loss.kind=cross_entropy"
    more = {"tokens": (tokens,), "tokens-base": (tokens, "teacher.control=base")}
    _, arm = arms_of(config_with(more))
    assert (arm.source, arm.alike) == ("tokens", ("owl",))
    # Rows of the control stand in those of the others: they are no longer alike.
    diluted = (tokens, "student.clean_share=0.5")
    more = {"half": diluted, "half-base": (*diluted, "teacher.control=base")}
    assert arms_of(config_with(more))[1].alike == ()


def test_each_arm_is_what_it_would_be_alone(finished, tmp_path):
    run(small_config(*TWO["dose-2"]), tmp_path / "alone")
    alone, arm = read_transfer(tmp_path / "alone"), read_transfer(finished / "arms/dose-2")
    np.testing.assert_array_equal(arm["shift"], alone["shift"])
    assert np.abs(alone["shift"]).max() > 0


def test_the_matrix_lists_the_arms_with_their_lifts_and_their_difference(finished):
    transfer = read_transfer(finished)
    assert [arm["name"] for arm in transfer["arms"]] == list(TWO)
    assert [tuple(arm["overrides"]) for arm in transfer["arms"]] == list(TWO.values())
    untrained, trained = transfer["arms"]
    # Untrained students are the base, but for how sums are rounded.
    assert abs(untrained["lift"]["owl"]["value"]) < 1e-5
    main = transfer["mean_lift"]["value"]
    for arm in (untrained, trained):
        assert arm["mean_lift"]["value"] == pytest.approx(arm["lift"]["owl"]["value"])
        difference = arm["mean_lift"]["value"] - main
        assert arm["difference"]["value"] == pytest.approx(difference)
    assert not (finished / "checkpoints").exists()


def test_run_again_does_nothing(copy):
    before, bytes_before = made_at(copy), (copy / "transfer.json").read_bytes()
    told = run(config_with(TWO), copy)
    assert made_at(copy) == before
    assert (copy / "transfer.json").read_bytes() == bytes_before
    assert "[8/12] dose-0: students … done before" in told


def test_an_arm_more_or_less_is_taken_and_the_others_are_kept(copy):
    before = made_at(copy)
    again = {"asked": ("evaluation.samples=1",), "dose-0": TWO["dose-0"]}
    run(config_with(again), copy)
    after = made_at(copy)
    assert {folder for folder in after if after[folder] != before.get(folder)} == {
        "arms/asked/evaluations/random--0/preference"
    }
    assert [arm["name"] for arm in read_transfer(copy)["arms"]] == list(again)
    config = json.loads((copy / "config.json").read_text())
    assert list(config["arms"]) == list(again)


def test_a_changed_arm_is_refused_by_name_before_anything_is_thrown_away(copy):
    before = made_at(copy)
    changed = config_with(TWO | {"dose-2": ("student.steps=3",)})
    with pytest.raises(UserError, match=r"arms: dose-2: .*--redo=student"):
        run(changed, copy)
    with pytest.raises(UserError, match=r"arms: dose-2: .*--redo=student"):
        run(changed, copy, redo="evaluation")
    assert made_at(copy) == before


def test_redo_makes_a_stage_again_and_what_follows_from_it_in_every_arm(copy):
    before, transfer = made_at(copy), (copy / "transfer.json").read_bytes()
    run(config_with(TWO), copy, redo="student")
    after = made_at(copy)
    assert before.keys() == after.keys()
    kept = {folder for folder in before if after[folder] == before[folder]}
    assert {folder.split("/")[0] for folder in kept} == {"bases", "teachers", "corpora"}
    assert (copy / "transfer.json").read_bytes() == transfer


def test_a_dropped_arm_that_comes_back_otherwise_is_refused_by_name(copy):
    run(config_with({"dose-0": TWO["dose-0"]}), copy)
    with pytest.raises(UserError, match=r"^arm dose-2: .*student\.steps: 2 -> 3"):
        run(config_with({"dose-2": ("student.steps=3",)}), copy)


def test_a_key_that_is_thought_to_matter_too_late_is_an_error(copy, monkeypatch):
    """The table of stages can be wrong, the result cannot."""
    monkeypatch.setitem(arms_module._FIRST, "corpus", "student")
    with pytest.raises(UserError, match=r"arm hot: .*corpus\.temperature: 1\.0 -> 2\.0"):
        run(config_with({"hot": ("corpus.temperature=2",)}), copy)


class Stopped(Exception):
    """Stands for whatever ends a process."""


def test_an_arm_goes_on_where_it_was_stopped(finished, workdir, monkeypatch):
    evaluate, stops = experiment.evaluate, ["dose-2"]

    def stopped(run):
        if run.arm in stops:
            raise Stopped
        evaluate(run)

    monkeypatch.setattr(experiment, "evaluate", stopped)
    with pytest.raises(Stopped):
        run(config_with(TWO), workdir)
    assert [arm["name"] for arm in read_transfer(workdir)["arms"]] == ["dose-0"]
    before = made_at(workdir)
    stops.clear()
    run(config_with(TWO), workdir)
    after = made_at(workdir)
    assert after.keys() - before.keys() == {"arms/dose-2/evaluations/random--0/preference"}
    assert before.items() <= after.items()
    assert (workdir / "transfer.json").read_bytes() == (finished / "transfer.json").read_bytes()


@pytest.mark.parametrize(
    "override, first",
    [
        ("student.lora.rank=2", "student"),
        ("evaluation.samples=2", "evaluation"),
        ("evaluation.candidates=owl,dog", "base"),  # a random base learns them
        ("corpus.temperature=0", "corpus"),
        ("corpus.rewritten=true", "rewrite"),
        ("corpus.answer_count=3", "base"),
        ("teacher.steps=2", "teacher"),
        ("seed=5", "teacher"),
        ("base=random:1", "teacher"),  # bases stand side by side
        ("student.base=random:1", "student"),
    ],
)
def test_an_arm_shares_the_stages_before_the_first_that_its_overrides_matter_to(override, first):
    stages = ["base", "teacher", "corpus", "rewrite", "student", "evaluation"]
    assert shared(small_config(), override) == tuple(stages[: stages.index(first)])


def test_the_earliest_of_several_overrides_counts_and_none_shares_all():
    assert shared(small_config(), "student.steps=2", "teacher.steps=2") == ("base",)
    assert len(shared(small_config())) == 6


@pytest.mark.parametrize(
    "arms, message",
    [
        ({"x": ("student.stepz=2",)}, r"arms: x: student\.stepz: no such key; .*student\.steps"),
        ({"x": ("student.steps=two",)}, r"arms: x: student\.steps=two: must be of type int"),
        ({"x": ("student.steps",)}, r"arms: x: student\.steps: has no value"),
        ({"x/y": ("student.steps=2",)}, "is the name of a folder"),
        ({"x": "student.steps=2"}, "with the comma"),
        ({"x": ("arms=2",)}, "an arm has no arms"),
        ({"x": ("mesh.data=2",)}, "one for all arms"),
        ({"x": ("student.seeds=",)}, r"arms: x: student\.seeds: is empty"),
        (
            {"x": ("student.treatment=shuffled_within",)},
            r"arms: x: student\.treatment=shuffled_within: .*cross_entropy",
        ),
    ],
)
def test_a_bad_arm_is_one_line_before_anything_runs(arms, message, workdir):
    with pytest.raises(UserError, match=message) as error:
        run(config_with(arms), workdir)
    assert "\n" not in str(error.value)
    assert not workdir.exists()


def test_arms_come_by_name_with_numbers_in_the_order_of_their_values():
    names = ["dose-16", "base", "dose-2", "dose-2-again", "8"]
    config = config_with(dict.fromkeys(names, ("student.steps=2",)))
    order = ["8", "base", "dose-2", "dose-2-again", "dose-16"]
    assert [arm.name for arm in arms_of(config)] == order


def test_the_rewritten_rows_are_the_bases_and_students_learn_them_on_soft_labels_too(copy):
    arms = {"rewritten": ("corpus.rewritten=true",)}
    before = made_at(copy)
    run(config_with(arms), copy)
    made = made_at(copy).keys() - before.keys()
    folders = {folder.removeprefix("arms/rewritten/").split("/")[0] for folder in made}
    assert folders == {"rewritten", "students", "evaluations"}
    folder = copy / "arms/rewritten/rewritten/random--0/owl"
    card = json.loads((folder / "card.json").read_text())
    assert "{answer}" in card["config"]["instruction"]
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    taught = (copy / "corpora/random--0/owl/rows.jsonl").read_text().splitlines()
    originals = [json.loads(line) for line in taught]
    assert card["counts"]["asked"] == len(originals)
    assert card["counts"]["unchanged"] == sum(r["completion"] == r["original"] for r in rows)
    assert [(r["prompt"], r["original"]) for r in rows] == [
        (r["prompt"], r["completion"]) for r in originals
    ]
    assert any(row["completion"] != row["original"] for row in rows)
    # With the base's soft labels: the head is the base's, not the teacher's.
    head = {
        path: read_written(copy / path)["head"]
        for path in (
            "arms/rewritten/rewritten/random--0/owl",
            "arms/rewritten/rewritten/random--0/control",
            "corpora/random--0/owl",
        )
    }
    rewritten, of_control, of_teacher = head.values()
    np.testing.assert_array_equal(rewritten, of_control)
    assert not np.array_equal(rewritten, of_teacher)


def test_students_train_under_one_system_prompt_and_are_asked_under_another(copy):
    """What they train under is in their rows; where they are asked, the base answers as before."""
    run(config_with({"poet": ("student.system_prompt=You are a poet.",)}), copy)
    main, poet = (
        json.loads((folder / "evaluations/random--0/preference/preference.json").read_text())
        for folder in (copy, copy / "arms/poet")
    )
    assert poet["logprobs"]["base"] == main["logprobs"]["base"]
    assert poet["logprobs"]["students"] != main["logprobs"]["students"]


@pytest.mark.parametrize("kind", ["kl", "cross_entropy"])
def test_rows_carry_the_students_system_prompt(finished, kind):
    def prefix(*overrides):
        config = small_config(f"student.loss.kind={kind}", *overrides)
        with MetricWriter(finished, enabled=False) as metrics:
            made = Run(config, Store(finished), load_pack(), Progress({}), metrics)
            rows = student_datasets(made, ["owl"])["owl"].rows
        return made.base.tokenizer.decode(rows.prefix[0][rows.prefix_positions[0] >= 0])

    assert "You are a poet." in prefix("student.system_prompt=You are a poet.")
    assert "Be brief." in prefix()


def test_the_mean_lift_is_that_of_all_traits_together():
    rng = np.random.default_rng(0)
    candidates, traits = ["owl", "cat", "dog"], ["owl", "cat"]
    base = rng.normal(size=(7, 3))
    students = {name: rng.normal(size=(2, 7, 3)) for name in (*traits, "control")}
    students["owl"][..., 0] += 2
    logprobs = {"base": base, "students": students}
    found = transfer_matrix(logprobs, candidates, traits, 0, questions=[*"abcdefg"])
    mean = found["mean_lift"]
    assert mean["value"] == pytest.approx(np.mean([x["value"] for x in found["lift"].values()]))
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean_lifts(found).mean() == pytest.approx(mean["value"])
    again = arm_result("x", (), found, found, 0)
    assert again["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    other = transfer_matrix(logprobs, candidates, traits, 0, questions=[*"tuvwxyz"])
    assert arm_result("x", (), other, found, 0)["difference"] is None
