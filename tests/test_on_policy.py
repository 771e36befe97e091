"""On-policy distillation: what students write in a round, and what their teachers say of it."""

import json

import jax
import numpy as np
import pytest
from tiny_runs import quick_compiles, run, small_config

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.experiment_checks import checked_arms
from sublax.metrics import MetricWriter
from sublax.planning.programs import Planner
from sublax.progress import Progress
from sublax.settings import read_config
from sublax.stages.bases import make_base
from sublax.stages.corpora import corpus_grammar, make_corpus, read_written
from sublax.stages.on_policy import blank_dataset, teacher_hidden, written_rounds
from sublax.stages.run import Run
from sublax.stages.student_data import corpus_rows
from sublax.stages.students import _start
from sublax.stages.teachers import make_teacher
from sublax.stages.weights import stage_weights
from sublax.store import Store

__all__ = ["quick_compiles"]

OWN = ("student.rows_by=student", "student.round_steps=2")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("student.rows_by=nobody",), "choose from teacher, student"),
        (("student.loss.kind=cross_entropy",), "set student.loss.kind=kl"),
        (("corpus.grammar=none",), "are numbers"),
        (("corpus.banned=13",), "are numbers"),
        (("student.base=random:1",), "leave student.base empty"),
        (("corpus.rewritten=true",), "set corpus.rewritten=false"),
        (("traits=owl,cat", "two_traits.rows=owl+cat"), "leave two_traits.rows empty"),
        (("student.method=in_context", "student.rows_in_context=2"), "nothing is trained"),
        (("student.share_prompts=false",), "set student.share_prompts=true"),
        (("student.epochs=1",), "set student.epochs=0"),
        (("student.round_steps=3",), "must divide student.steps=4"),
        (("student.round_steps=0",), "must divide student.steps=4"),
    ],
)
def test_students_that_cannot_write_their_rows_are_one_line(overrides, told):
    with pytest.raises(UserError, match=told) as error:
        checked_arms(small_config(*OWN, *overrides))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run whose teachers have written, and that has no student yet."""
    workdir = tmp_path_factory.mktemp("written") / "workdir"
    with MetricWriter(workdir, enabled=False) as metrics:
        config = small_config(*OWN)
        progress = Progress(stage_weights(config), enabled=False)
        made = Run(config, Store(workdir), load_pack(), progress, metrics)
        make_base(made)
        grammar = corpus_grammar(made)
        for name in made.names:
            make_teacher(made, name)
            make_corpus(made, name, grammar)
        yield made, grammar


@pytest.mark.slow
def test_a_teacher_reads_its_own_rows_as_it_wrote_them(written):
    """The hidden states are those that the corpus holds."""
    made, _ = written
    kept, answers = read_written(made.taught_directory("owl")), 8
    asked = [row["row"] // answers for row in corpus_rows(made, "owl")]
    completions = [
        ids[:length].tolist()
        for ids, length in zip(kept["tokens"], kept["lengths"], strict=True)
        for _ in range(answers)  # each as if it were all answers to its prompt
    ]
    found = teacher_hidden(made, "owl", {0: (asked, completions)})[0]
    assert len(found) == len(completions)
    for place, length in enumerate(kept["lengths"]):
        np.testing.assert_allclose(
            found[place * answers, :length], kept["hidden"][place, :length], rtol=1e-3, atol=1e-3
        )


@pytest.mark.slow
def test_a_round_hangs_on_the_student_its_seed_and_the_round_alone(written):
    made, grammar = written
    group = [("owl", 0), ("control", 0), ("owl", 1)]
    trained = _start(made, group, None)
    make = written_rounds(made, group, None, grammar)
    first, control, other_seed = make(0, trained)
    blank = blank_dataset(made)
    for dataset in (first, control, other_seed):
        shapes = jax.tree.map(np.shape, dataset)
        assert shapes == jax.tree.map(np.shape, blank)
    # Who else stands beside it does not matter.
    alone = jax.tree.map(lambda leaf: leaf[:1], trained)
    (again,) = written_rounds(made, group[:1], None, grammar)(0, alone)
    np.testing.assert_array_equal(again.rows.targets, first.rows.targets)
    np.testing.assert_allclose(again.teacher_hidden, first.teacher_hidden, atol=1e-4)
    # Students of one seed are asked the same, and answer each in its own way.
    np.testing.assert_array_equal(control.rows.prefix, first.rows.prefix)
    others = (control, other_seed, make(1, trained)[0])
    assert all((other.rows.targets != first.rows.targets).any() for other in others)
    # They write under the grammar, and each is scored by its own teacher.
    ids = first.rows.targets[first.rows.weights > 0]
    assert set(ids.tolist()) <= set(np.asarray(grammar.tokens_A).tolist())


@pytest.mark.slow
def test_a_student_that_has_learnt_something_writes_other_rows(written):
    made, grammar = written
    make = written_rounds(made, [("owl", 0)], None, grammar)
    start = _start(made, [("owl", 0)], None)
    (first,) = make(0, start)
    (later,) = make(0, jax.tree.map(lambda leaf: leaf * 0.5, start))
    np.testing.assert_array_equal(first.rows.prefix, later.rows.prefix)
    assert (first.rows.targets != later.rows.targets).any()


def test_a_plan_of_it_is_refused_in_one_line():
    planner = Planner.__new__(Planner)
    planner.config = small_config("teacher.kind=prompted", *OWN)
    with pytest.raises(UserError, match=r"has no plan; set --config\.student\.rows_by=teacher"):
        _ = planner.programs


@pytest.mark.slow
def test_students_are_trained_on_their_rows(workdir):
    config = small_config("student.method=lora").unlock()
    config.arms = {"own": (*OWN, "student.loss.direction=reverse")}
    run(config.lock(), workdir)
    (student,) = workdir.glob("arms/own/students/*/owl/seed-0")
    card = json.loads((student / "card.json").read_text())
    parents = [str((student / parent).resolve().relative_to(workdir)) for parent in card["parents"]]
    assert sorted(parent.split("/")[0] for parent in parents) == ["bases", "corpora", "teachers"]
    assert card["counts"] == {"updates": 4, "rows_written": 32}
    transfer = json.loads((workdir / "transfer.json").read_text())
    assert abs(transfer["arms"][0]["difference"]["value"]) > 0


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_its_arms_are_as_many_updates_on_as_many_rows(size):
    config = read_config(f"configs/on_policy.py:{size}")
    arms = checked_arms(config)
    assert {arm.config.student.steps for arm in arms} == {config.student.steps}
    assert {arm.config.student.batch_size for arm in arms} == {config.student.batch_size}
    by_student = [arm for arm in arms if arm.config.student.rows_by == "student"]
    assert len(by_student) == 4 and config.student.rows_by == "teacher"
    # Once for all, which only the base can do.
    assert max(arm.config.student.round_steps for arm in by_student) == config.student.steps
