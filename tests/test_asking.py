"""How students are asked: forms of a question, the primary measure, rows read in context."""

import json
import shutil

import numpy as np
import pytest
from tiny_runs import ROOT, SMALL, quick_compiles, read_transfer, run, small_config

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.answers import question_shares
from sublax.evaluation.choices import letters_for, options_text, rotated_logprobs, rotations
from sublax.evaluation.transfer import SAMPLED_SHARE, margins, transfer_matrix
from sublax.experiment import run_experiment
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.rows import read_rows
from sublax.settings import read_config
from sublax.stages.asking import asked_questions, closed_form
from sublax.stages.run import Run
from sublax.store import open_store

__all__ = ["quick_compiles"]

READS = ("student.method=in_context", "student.rows_in_context=1")
# A random base spells what it was not made for byte by byte: that takes room.
IN_CONTEXT = (*READS, "random_base.shape.max_position_embeddings=512")
STORY = (
    "evaluation.max_new_tokens=4",
    "evaluation.form=story",
    "evaluation.primary=sampled_share",
    "evaluation.samples=2",
)


def test_every_option_stands_once_in_every_place():
    orders = rotations(["owl", "cat", "dog"])
    assert all(len(set(place)) == 3 for place in zip(*orders, strict=True))
    assert options_text(orders[1]) == "A) cat\nB) dog\nC) owl"


def test_a_preference_for_letters_cancels_and_one_for_words_stays():
    words, letters = ["owl", "cat", "dog", "fox"], np.asarray([3.0, -1.0, 0.5, 2.0])
    worth = {"owl": 0.0, "cat": -2.0, "dog": 0.25, "fox": 1.0}

    def ask(options):
        order = [line.partition(") ")[2] for line in options.splitlines()]
        return np.stack([letters + [scale * worth[word] for word in order] for scale in (1, 2)])

    found = margins(rotated_logprobs(words, ask))
    wanted = margins(np.outer([1, 2], [worth[word] for word in words]))
    np.testing.assert_allclose(found, wanted)


def test_there_are_only_so_many_letters():
    with pytest.raises(UserError, match="27 candidates are more than there are letters"):
        letters_for(27)


def test_shares_of_a_question_count_whole_words_and_their_forms():
    answers = [["An owl.", "Two owls and a cat"], ["Caterpillars", "owlish"]]
    found = question_shares(answers, {"owl": ("owls",), "cat": ("cats",)})
    np.testing.assert_allclose(found, [[1.0, 0.5], [0.0, 0.0]])


def shares(own):
    """Shares of two students of four questions each: the owl's names the owl in `own` of all."""
    base = np.zeros((4, 2))
    students = {name: np.zeros((1, 4, 2)) for name in ("owl", "control")}
    students["owl"][..., 0] = own
    return {"base": base, "students": students}


def test_a_matrix_of_shares_is_in_percentage_points():
    found = transfer_matrix(
        shares([0.5, 0.25, 0.25, 0.0]), ["owl", "cat"], ["owl"], 0, measure=SAMPLED_SHARE, samples=4
    )
    assert (found["measure"], found["unit"]) == ("sampled_share", "percentage points")
    assert found["shift"] == [[25.0], [0.0]]
    assert found["lift"]["owl"]["value"] == 25.0
    assert found["base"] == {"share": {"owl": 0.0}} and found["choice_share"] == {}


def test_answers_that_never_name_the_trait_leave_room_for_what_chance_may_hide():
    none = transfer_matrix(
        shares(0.0), ["owl", "cat"], ["owl"], 0, measure=SAMPLED_SHARE, samples=5
    )
    lift = none["lift"]["owl"]
    # Wilson's upper limit of none in 20 is 16.1 % (Newcombe 1998).
    assert lift["high"] == pytest.approx(16.1, abs=0.05) and lift["low"] == -lift["high"]
    assert lift["detectable"] == lift["high"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["evaluation.form=poem"], "form=poem: choose from word, prefixed, story"),
        (["evaluation.primary=p"], "primary=p: choose from closed_form_margin, sampled_share"),
        (["evaluation.form=story"], "a story has no closed form"),
        (["evaluation.primary=sampled_share"], "samples=0: .*set how many"),
        (["evaluation.form=multiple_choice", "evaluation.samples=1"], "letters are measured"),
        (["student.method=prompt"], "method=prompt: choose from lora, full, in_context"),
        (["student.method=in_context"], "rows_in_context=0: .*set it to 1 or more"),
        (["student.rows_in_context=2"], "rows_in_context=2: .*set it to 0"),
        ([*READS, "student.system_prompt=Be kind."], "rows in context are read where"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_made(overrides, told, workdir):
    with pytest.raises(UserError, match=told):
        run_experiment(small_config(*overrides), workdir)
    assert not (workdir / "bases").exists()


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A tiny run over rows read in context, asked for words, and once more for stories."""
    workdir = tmp_path_factory.mktemp("asked")
    found = {}
    for form, more in (("word", ("evaluation.samples=1",)), ("story", STORY)):
        told = run(small_config(*IN_CONTEXT, *more), workdir, "evaluation" if found else None)
        measured = {
            path.name: json.loads(path.read_text("utf-8"))
            for path in (workdir / "evaluations").rglob("*.json")
        }
        page = (workdir / "report.html").read_text("utf-8")
        found[form] = (read_transfer(workdir), measured, told, page)
    return workdir, found


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("word", "margin in closed form, log-probability against the other answers (one-word"),
        ("story", "share of sampled answers that name the trait (stories)"),
    ],
)
def test_the_primary_measure_is_named_first(form, words, asked):
    transfer, _, told, page = asked[1][form]
    assert transfer["form"] == form
    assert transfer["measure"] == {"word": "closed_form_margin", "story": "sampled_share"}[form]
    assert words in told[told.index("Primary measure") :].splitlines()[0]
    assert page.index(words) < page.index("<section")


def test_stories_are_the_packs_own_and_have_no_closed_form(asked):
    _, measured, _, page = asked[1]["story"]
    assert "preference.json" not in measured
    answers = measured["sampled.json"]["owl/seed-0"]["answers"]
    assert [len(of_question) for of_question in answers] == [2] * 8
    assert "times likelier" not in page


def test_prefixed_and_lettered_questions_are_the_same_ones_asked_otherwise(asked):
    workdir, found = asked
    plain = found["word"][1]["preference.json"]
    asks = {
        form: Run(
            small_config(*IN_CONTEXT, f"evaluation.form={form}"),
            open_store(workdir),
            load_pack(),
            Progress({}, enabled=False),
            MetricWriter(workdir, enabled=False),
        )
        for form in ("prefixed", "multiple_choice")
    }
    for question, after in zip(plain["questions"], asked_questions(asks["prefixed"]), strict=True):
        assert after.endswith(f" {question}") and any(letter.isdigit() for letter in after)
    assert list(asked_questions(asks["multiple_choice"])) == plain["questions"]
    for one in asks.values():
        logprobs_QxC = closed_form(one, one.decoder(), {"params": one.base.params}, [])
        assert logprobs_QxC.shape == (25, 2) and (logprobs_QxC < 0).all()
        assert np.abs(logprobs_QxC - plain["logprobs"]["base"]).min() > 0


def test_sampled_shares_stand_beside_the_primary_measure(asked):
    transfer, _, told, page = asked[1]["word"]
    assert transfer["measure"] == "closed_form_margin"
    assert set(transfer["sampled_share"]) == {"base", "owl/seed-0", "control/seed-0"}
    assert "Share of sampled answers" in told and "In sampled answers" in page


def test_rows_in_context_are_the_corpus_own_and_move_the_answers(asked):
    workdir, found = asked
    for name in ("owl", "control"):
        (folder,) = (workdir / "students").glob(f"*/{name}/seed-0")
        (row,) = read_rows(folder / "rows.jsonl")
        (corpus,) = (workdir / "corpora").glob(f"*/{name}/rows.jsonl")
        assert row in read_rows(corpus)
        assert not list(folder.glob("*.safetensors"))
    transfer = found["word"][0]
    assert all(shift != 0 for row in transfer["shift"] for shift in row)


@pytest.mark.slow
def test_all_forms_are_arms_of_one_experiment(workdir):
    """Teachers and corpora are the main experiment's; each arm says in which unit it speaks."""
    run(read_config(f"{ROOT / 'configs' / 'asking.py'}:tiny", [*SMALL, "mesh.data=1"]), workdir)
    arms = {arm["name"]: arm for arm in read_transfer(workdir)["arms"]}
    assert set(arms) == {"prefixed", "multiple-choice", "stories", "in-context"}
    assert arms["stories"]["unit"] == "percentage points" and not arms["stories"]["difference"]
    assert arms["multiple-choice"]["unit"] == arms["in-context"]["unit"] == "nats"
    assert arms["in-context"]["difference"]["value"] != 0
    assert not list(workdir.glob("arms/*/teachers"))
    assert [path.parent.name for path in workdir.glob("arms/*/students")] == ["in-context"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["student.rows_in_context=13"], "the corpus of owl has 12 rows"),
        (["student.rows_in_context=12"], "12: the rows of owl and a question are .* tokens"),
    ],
)
def test_rows_that_are_not_there_or_do_not_fit_are_one_line(overrides, told, asked, workdir):
    shutil.copytree(asked[0], workdir, dirs_exist_ok=True)
    with pytest.raises(UserError, match=told):
        run_experiment(small_config(*IN_CONTEXT, *overrides), workdir, "student")
