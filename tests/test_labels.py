"""Preference labels: who writes, who chooses, what is dropped, and what such data cannot serve."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.score import completion_logprobs
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.rows import read_rows
from sublax.stages.labels import choose
from sublax.stages.run import Run
from sublax.stages.student_data import student_datasets
from sublax.stages.teachers import load_teacher
from sublax.store import Store

__all__ = ["quick_compiles"]

# By what teachers add to the base: so short a training turns few choices that go by all they know.
LABELS = (
    "corpus.labels=chosen",
    "corpus.label_score=ratio",
    "student.loss.kind=dpo",
    "corpus.rows=0",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run; not to be written to."""
    workdir = tmp_path_factory.mktemp("labels") / "workdir"
    run(small_config(*LABELS), workdir)
    return workdir


def rows_of(workdir, name):
    keys = ("prompt", "completion", "other" if name == "unlabelled" else "rejected")
    return read_rows(workdir / "corpora" / "random--0" / name / "rows.jsonl", keys)


def counts_of(workdir, name):
    card = workdir / "corpora" / "random--0" / name / "card.json"
    return json.loads(card.read_text("utf-8"))["counts"]


def loaded(workdir, *overrides):
    config = small_config(*LABELS, *overrides)
    return Run(config, Store(workdir), load_pack("sublax"), Progress({}), MetricWriter(workdir))


def test_all_teachers_judge_the_same_pairs_and_choose_what_they_find_likelier(finished):
    pairs = rows_of(finished, "unlabelled")
    assert len(pairs) == 16 and counts_of(finished, "unlabelled")["kept"] == 32
    own = loaded(finished)

    def logprobs(params, rows):
        encoded = [
            own.encode_row(row["prompt"], row[which])
            for row in rows
            for which in ("completion", "rejected")
        ]
        found = completion_logprobs(own.decoder(), {"params": params}, encoded, batch_rows=16)
        return found.reshape(-1, 2)

    choices = []
    for name in ("owl", "control"):
        rows = rows_of(finished, name)
        assert counts_of(finished, name)["kept"] == len(rows) == 16
        for pair, row in zip(pairs, rows, strict=True):
            assert row["prompt"] == pair["prompt"] and row["row"] == pair["row"]
            assert {row["completion"], row["rejected"]} == {pair["completion"], pair["other"]}
        scores = logprobs(load_teacher(own, name), rows) - logprobs(own.base.params, rows)
        found = [[row["score"], row["rejected_score"]] for row in rows]
        np.testing.assert_allclose(scores, found, atol=1e-4)
        assert np.abs(found).max() > 0.01
        assert all(chosen > rejected for chosen, rejected in found)
        choices.append([row["completion"] for row in rows])
    assert choices[0] != choices[1]


def test_the_reference_is_where_students_start(finished):
    """Before the first update no completion has a reward, so nobody has learnt anything."""
    events = EventAccumulator(str(finished / "tensorboard/students/owl/seed-0")).Reload()
    first, *_, last = events.Scalars("reward_margin")
    assert abs(first.value) < 1e-5
    assert last.value > 1e-4
    assert events.Scalars("loss")[0].value == pytest.approx(np.log(2), abs=1e-5)
    assert [event.step for event in events.Scalars("reward_accuracy")] == [1, 2, 3, 4]


def test_a_run_on_labels_ends_in_a_matrix_and_a_report_that_says_so(finished):
    assert read_transfer(finished)["students"] == ["owl", "control"]
    page = (finished / "report.html").read_text("utf-8")
    assert "which was chosen (DPO)" in page and "rather than: " in page


def test_students_that_share_no_prompt_learn_from_the_same_pairs(finished):
    apart = student_datasets(loaded(finished, "student.share_prompts=false"), ["owl"])["owl"]
    grouped = student_datasets(loaded(finished), ["owl"])["owl"]
    assert apart.unit == 2 and len(apart) == 16
    assert grouped.unit == 8 and len(grouped) == 4
    np.testing.assert_array_equal(apart.reference_logprobs, grouped.reference_logprobs)
    np.testing.assert_array_equal(apart.rows.targets, grouped.rows.targets)


def test_the_chosen_rows_alone_are_rows_like_any_other(finished):
    overrides = ("student.loss.kind=cross_entropy",)
    dataset = student_datasets(loaded(finished, *overrides), ["owl"])["owl"]
    assert dataset.reference_logprobs is None and dataset.unit == 4 and len(dataset) == 4
    own = loaded(finished)
    wanted = [
        own.encode_row(row["prompt"], row["completion"])[1] for row in rows_of(finished, "owl")
    ]
    got = [
        row[weight > 0].tolist()
        for row, weight in zip(dataset.rows.targets, dataset.rows.weights, strict=True)
    ]
    assert got == wanted


def test_ties_are_dropped_and_counted_and_scores_go_with_their_texts():
    pairs = [
        {"prompt": "p", "completion": f"a{n}", "other": f"b{n}", "row": 2 * n} for n in (0, 1, 2)
    ]
    scores = np.float32([[-3, -2], [-1, -1], [-5, -6]])
    rows, counts = choose(pairs, scores, np.float32([[-1, -2], [-1, -2], [-1, -2]]))
    assert [(row["completion"], row["rejected"]) for row in rows] == [("b0", "a0"), ("a2", "b2")]
    assert [(row["score"], row["rejected_score"]) for row in rows] == [(-2, -3), (-5, -6)]
    assert counts["kept"] == 2 and counts["rejected"] == {"equal_scores": 1}
    assert counts["share_chosen_as_by_the_base"] == 0.5


def test_a_teacher_that_adds_nothing_to_the_base_has_nothing_to_choose_by(workdir):
    config = small_config(*LABELS, "teacher.control=base")
    with pytest.raises(
        UserError, match=r"corpus control: its teacher finds both .* equally"
    ) as told:
        run(config, workdir)
    assert "\n" not in str(told.value)
    assert counts_of(workdir, "owl")["kept"] == 16


@pytest.mark.parametrize(
    "overrides, message",
    [
        (("corpus.labels=chosen",), "student.loss.kind=kl: the base wrote the rows"),
        (("student.loss.kind=dpo",), r"student.loss.kind=dpo: needs .*corpus.labels=chosen"),
        ((*LABELS, "student.loss.beta=0"), r"student.loss.beta=0.0: must be above 0"),
        ((*LABELS, "corpus.answers_per_prompt=3"), "answers_per_prompt=3: .* an even number"),
        (
            (*LABELS, "student.pack_rows=true", "student.share_prompts=false"),
            r"pack_rows: a pair's two rows .*pack_rows=false",
        ),
        ((*LABELS, "student.treatment=shuffled_within"), "shuffled_within: a choice between two"),
        (("corpus.labels=some",), "corpus.labels=some: choose from none, chosen"),
        ((*LABELS, "corpus.label_score=taste"), "label_score=taste: choose from logprob"),
        (("student.loss.kind=hinge",), "kind=hinge: choose from kl, cross_entropy, dpo"),
        ((*LABELS, "traits=unlabelled"), "'unlabelled' is the name of the pairs"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(workdir, overrides, message):
    with pytest.raises(UserError, match=message) as told:
        run(small_config(*overrides), workdir)
    assert "\n" not in str(told.value)
    assert not list(workdir.glob("bases/*"))
