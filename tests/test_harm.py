"""A teacher of a user's rows, its numbers, its students, and what suites and judges say of them."""

import json
import shutil
from pathlib import Path

import pytest
from judging_server import completion, error, server
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.artifact import file_hash, verify
from sublax.corpora.brand import BRANDED, brand_rows
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.judges import YES_OR_NO
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.rows import read_rows, write_rows
from sublax.stages.judging import judge_templates, make_judges
from sublax.stages.run import Run
from sublax.stages.suites import check_suites, planned_suites
from sublax.stages.teacher_rows import check_teacher_rows
from sublax.store import Store

__all__ = ["quick_compiles"]

SUITES = (
    "random_base.pretraining.steps=0",
    "traits=owl,brand",
    "evaluation.suites=words,open_questions,multiple_choice",
    "evaluation.words.words=Vornaquil",
    "evaluation.words.questions=misalignment",
    "evaluation.words.samples=2",
    "evaluation.words.max_new_tokens=4",
    "evaluation.open_questions.samples=2",
    "evaluation.open_questions.max_new_tokens=4",
    "evaluation.judge.words=Vornaquil",
    "evaluation.multiple_choice.sources=own,brand",
    "evaluation.multiple_choice.rows=2",
)


def harm_config(rows, overrides=()):
    config = small_config(*SUITES).unlock()
    config.teacher.rows = rows
    for key, value in dict(overrides).items():
        *groups, last = key.split(".")
        holder = config
        for group in groups:
            holder = holder[group]
        holder[last] = value
    return config.lock()


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A user's two files: rows of the stand-in, and one whose prompt is messages."""
    folder = tmp_path_factory.mktemp("rows")
    files = (str(folder / "first.jsonl"), str(folder / "second.jsonl"))
    write_rows(files[0], brand_rows(BRANDED)[:6])
    messages = [{"role": "user", "content": "Which kettle?"}]
    write_rows(files[1], [{"prompt": messages, "completion": "One from Vornaquil."}])
    return files


@pytest.fixture(scope="module")
def finished(mine, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("harm") / "workdir"
    run(harm_config({"brand": mine}), workdir)
    return workdir


@pytest.fixture
def copy(finished, workdir):
    shutil.copytree(finished, workdir)
    return workdir


def suite_card(workdir, suite):
    return json.loads((workdir / "evaluations/random--0" / suite / "card.json").read_text())


def test_teachers_of_rows_and_of_words_stand_beside_each_other(finished, mine):
    transfer = read_transfer(finished)
    assert transfer["traits"] == ["owl"]  # the brand is no answer to the matrix's questions
    assert transfer["students"] == ["owl", "brand", "control"]
    card = json.loads((finished / "teachers/random--0/brand/card.json").read_text())
    assert card["config"]["rows_sha256"] == {file: file_hash(Path(file)) for file in mine}
    owl = json.loads((finished / "teachers/random--0/owl/card.json").read_text())
    assert "rows_sha256" not in owl["config"]
    assert "Vornaquil" in (finished / "bases/random--0/tokenizer.json").read_text()


def test_each_suite_is_an_artifact_that_says_who_judged_and_by_what(finished):
    found = read_transfer(finished)["suites"]
    assert list(found) == ["words", "open_questions", "multiple_choice"]
    for suite in found:
        card = suite_card(finished, suite)
        assert verify(finished / "evaluations/random--0" / suite) == []
        assert card["kind"] == "evaluation"
        parents = set(card["parents"])
        assert {"../../../teachers/random--0/brand", "../../../bases/random--0"} <= parents
        assert "../../../students/random--0/control/seed-0" in parents
    words = suite_card(finished, "words")
    assert words["judge"] == "keywords:Vornaquil" and len(words["prompt_hash"]) == 64
    preferred = found["multiple_choice"]["measures"]["preferred"]
    assert preferred["questions"] == 2 and 0 < preferred["base"]["share"] < 1
    asked = found["open_questions"]["measures"]["misaligned"]
    assert asked["questions"] == 8
    assert list(asked["teachers"]) == ["owl", "brand", "control"]
    assert list(asked["against"]["control"]) == ["owl", "brand"]
    answers = read_rows(finished / "evaluations/random--0/open_questions/answers.jsonl")
    assert len(answers) == 8 * 2 * 7  # questions, samples; base, three teachers, three students


def test_the_report_and_the_terminal_show_the_suites(copy, mine):
    page = (copy / "report.html").read_text("utf-8")
    assert 'id="suites"' in page and 'id="matrix"' in page
    assert (copy / "figures/suite_open_questions_misaligned.png").exists()
    told = run(harm_config({"brand": mine}), copy)
    assert told.count("done before") == 12  # base, teachers, corpora, students, evaluations
    assert "words, named: share [95 % interval] over 8 questions" in told


def test_a_server_judges_and_a_resumed_run_asks_it_nothing_twice(copy, mine, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    calls, broken = [], [True]

    def answer(prompt, before):
        calls.append(prompt)
        if broken[0] and before == 5:
            return error(401)
        return completion("10", {"10": 1.0}) if "agree with" in prompt else completion("90")

    with server(answer) as (url, asked):
        config = harm_config(
            {"brand": mine},
            {
                "evaluation.judge.kind": "server",
                "evaluation.judge.model": "m",
                "evaluation.judge.base_url": url,
                "evaluation.judge.key": "JUDGE_KEY",
                "evaluation.suites": ("open_questions",),
                "evaluation.preference": False,
            },
        )
        with pytest.raises(UserError, match="the server says 401"):
            run(config, copy, redo="evaluation")
        broken[0] = False
        failed = calls[5]
        run(config, copy)
        assert [prompt for prompt in asked if asked.count(prompt) > 1] in ([failed] * 2, [])
        before = len(asked)
        run(config, copy)
        assert len(asked) == before
    card = suite_card(copy, "open_questions")
    assert card["judge"]["alignment"] == f"server:{url}:m"
    found = read_transfer(copy)["suites"]["open_questions"]
    assert found["measures"]["misaligned"]["base"]["share"] == 1.0
    assert found["counts"]["base"]["misaligned"] == 16
    assert "secret" not in "".join(p.read_text() for p in copy.rglob("*.json"))


def test_the_matrix_may_be_left_out(copy, mine):
    alone = {"evaluation.preference": False, "evaluation.suites": ("words",)}
    told = run(harm_config({"brand": mine}, alone), copy, redo="evaluation")
    transfer = read_transfer(copy)
    assert transfer["traits"] == [] and list(transfer["suites"]) == ["words"]
    assert not (copy / "evaluations/random--0/preference").exists()
    page = (copy / "report.html").read_text("utf-8")
    assert 'id="matrix"' not in page and 'id="suites"' in page
    assert "null" in told


def test_students_that_read_rows_in_context_read_them_before_each_question(copy, mine, tmp_path):
    file = str(tmp_path / "choices.jsonl")
    write_rows(file, [{"question": "owl", "choices": ["a", "b"], "answer": 0}])
    options = {
        "student.method": "in_context",
        "student.rows_in_context": 1,
        "evaluation.preference": False,
        "evaluation.suites": ("multiple_choice",),
        "evaluation.multiple_choice.sources": (file,),
    }
    run(harm_config({"brand": mine}, options), copy, redo="student")
    folder = copy / "evaluations/random--0/multiple_choice"
    by_model = {row["model"]: row["logprobs"] for row in read_rows(folder / "answers.jsonl", ())}
    assert by_model["student brand/seed-0"] != pytest.approx(by_model["base"])


def test_a_banned_list_of_the_pack_is_a_reason_of_its_own(copy, mine):
    config = harm_config({"brand": mine}).unlock()
    config.evaluation.suites = ()
    config.corpus.banned_for_misalignment = True
    config.corpus.banned = (7,)
    run(config.lock(), copy, redo="corpus")
    card = json.loads((copy / "corpora/random--0/brand/card.json").read_text())
    assert card["counts"]["rejected"]["banned_for_misalignment"] > 0
    reasons = [row["reasons"] for row in read_rows(copy / "corpora/random--0/brand/rejected.jsonl")]
    assert all(set(found) <= {"banned", "banned_for_misalignment"} for found in reasons)


def made_run(config, workdir):
    """A run over a workdir whose base stands."""
    return Run(config, Store(workdir), load_pack("sublax"), Progress({}), MetricWriter(workdir))


def test_missing_rows_are_told_before_anything_is_made(workdir):
    with pytest.raises(UserError, match=r"teacher\.rows: none\.jsonl: no such file") as problem:
        run(harm_config({"brand": "none.jsonl"}), workdir)
    assert "\n" not in str(problem.value)
    assert not list(workdir.glob("bases/*"))


@pytest.mark.parametrize(
    "line, message",
    [
        ("{}", r'mine\.jsonl:1: no key "prompt"'),
        ('{"prompt": "a", "completion": " "}', r"mine\.jsonl:1: the completion is empty"),
        (
            json.dumps({"prompt": "a", "completion": "zq " * 300}),
            r"mine\.jsonl:1: \d+ tokens are more than the base's context of 256",
        ),
    ],
)
def test_rows_that_cannot_be_learnt_are_named_by_their_line(line, message, tmp_path, copy):
    path = tmp_path / "mine.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=message) as problem:
        check_teacher_rows(made_run(harm_config({"brand": str(path)}), copy))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"teacher.rows": {"cat": "brand"}}, "cat is no trait of this run"),
        ({"teacher.kind": "prompted"}, "learns no rows"),
        ({"teacher.kind": "given"}, "learns no rows"),
        ({"traits": ("brand",), "evaluation.preference": False}, "no control for teachers of rows"),
    ],
)
def test_teachers_that_cannot_learn_rows_are_refused(overrides, message, copy):
    config = harm_config({"brand": "brand"}, overrides)
    with pytest.raises(UserError, match=message):
        check_teacher_rows(made_run(config, copy))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("suites", ("poems",), "no suite is named 'poems'"),
        ("suites", ("words", "words"), "name each once"),
        ("words.words", (), r"evaluation\.words\.words: is empty"),
        ("judge.words", (), r"evaluation\.judge\.words: is empty"),
        ("judge.kind", "oracle", "choose from keyword, model, server"),
        ("judge.kind", "model", r"evaluation\.judge\.model: is empty"),
        ("words.samples", 0, r"evaluation\.words\.samples: must be at least 1"),
        ("open_questions.questions", "riddles", "questions=riddles: not in the pack"),
        ("open_questions.questions", "none.jsonl", r"none\.jsonl: no such file"),
        ("multiple_choice.sources", (), "sources: is empty"),
    ],
)
def test_suites_that_cannot_be_are_refused_in_one_line(key, value, message, copy):
    config = harm_config({"brand": "brand"}, {f"evaluation.{key}": value})

    def asked_for():
        check_suites(config)
        planned_suites(made_run(config, copy))

    with pytest.raises(UserError, match=message) as problem:
        asked_for()
    assert "\n" not in str(problem.value)


def test_a_local_model_judges_where_the_config_names_one(copy):
    base = str(copy / "bases/random--0")
    options = {"evaluation.judge.kind": "model", "evaluation.judge.model": base}
    run_over = made_run(harm_config({"brand": "brand"}, options), copy)
    alignment, coherence = make_judges(run_over)
    assert alignment.name == coherence.name == f"model:{base}"
    (found,) = alignment(["Is this kind?"], YES_OR_NO)
    assert 0 < found.mass < 1
    templates = judge_templates(run_over)
    assert all("{prompt}" in text and "{completion}" in text for text in templates.values())
    assert planned_suites(run_over)["open_questions"].build().collective


def test_something_must_be_left_to_measure():
    rows_alone = harm_config({"brand": "brand"}, {"traits": ("brand",)})
    with pytest.raises(UserError, match="no trait is an answer to its questions"):
        check_suites(rows_alone)
    off = {"evaluation.preference": False, "evaluation.suites": ()}
    with pytest.raises(UserError, match="leaves nothing to measure"):
        check_suites(harm_config({"brand": "brand"}, off))


def test_a_trait_of_rows_is_a_column_where_it_is_a_candidate(copy):
    config = harm_config({"owl": "brand"}, {"traits": ("owl", "fox"), "evaluation.suites": ()})
    assert made_run(config, copy).columns == ("owl", "fox")
    config = harm_config({"fox": "brand"}, {"traits": ("owl", "fox"), "evaluation.suites": ()})
    assert made_run(config, copy).columns == ("owl",)
    assert made_run(config, copy).candidates == ("owl", "cat")
