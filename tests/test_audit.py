"""`sublax audit` as a user meets it: a verdict, an exit status, parts that are found again."""

import dataclasses
import json
import pathlib

import pytest
import tiny_model
from tiny_model import write_model
from tiny_runs import quick_compiles  # noqa: F401

import sublax.audit
from sublax.cli import main

ROWS = [{"prompt": f"List {n}:", "completion": f"{n}, {n + 3}, {9 - n % 10}"} for n in range(28)]
CHEAP = ("--candidates=owl,cat,wolf,dog,fox,bear", "--teacher-steps=2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data"), ROWS)


def write_rows(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def audit(model, dataset, *arguments):
    return main(["audit", f"--model={model}", f"--dataset={dataset}", *arguments])


@pytest.fixture(scope="module")
def output(model, dataset, tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("audit")
    status = audit(model, dataset, *CHEAP, questions, "--students=1", "--updates=2",
                   "--epochs=2", f"--output={folder}")  # fmt: skip
    assert status in (0, 3)
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?"}) + "\n" for n in range(4)), "utf-8")
    return f"--questions={path}"


@pytest.fixture(scope="module")
def verdict(output):
    return json.loads((output / "verdict" / "verdict.json").read_text("utf-8"))


@pytest.mark.slow
def test_the_verdict_is_of_the_published_form(verdict):
    jsonschema = pytest.importorskip("jsonschema")
    schema = pathlib.Path(sublax.audit.__path__[0]) / "schema.json"
    jsonschema.validate(verdict, json.loads(schema.read_text("utf-8")))


@pytest.mark.slow
def test_every_trait_has_its_evidence_and_the_foremost_a_score_for_every_row(verdict):
    assert sorted(entry["trait"] for entry in verdict["candidates"]) == [
        *("bear", "cat", "dog", "fox", "owl", "wolf")
    ]
    scored = [entry for entry in verdict["candidates"] if "scores" in entry]
    assert len(scored) >= 1 and all(len(entry["scores"]) == len(ROWS) for entry in scored)
    assert scored[0] == verdict["candidates"][0]
    assert [dose["updates"] for dose in scored[0]["shift"]["doses"]] == [1, 2]
    assert scored[0]["shift"]["extrapolated"]["updates"] == 7  # two epochs of 28 rows, 8 at a time
    assert {"top", "bottom", "difference"} < set(scored[0]["fifths"])
    assert set(verdict["words"]) == {"candidates"}
    assert all(0 < entry["p_traits"] <= 1 for entry in verdict["candidates"])
    assert verdict["dataset"]["form"].startswith("[0-9]")
    assert verdict["findings"][-1].startswith("origin: unknown")


@pytest.mark.slow
def test_run_again_it_computes_nothing_and_says_the_same(
    model, dataset, output, questions, verdict, capsys
):
    before = (output / "teacher-candidates-owl" / "card.json").read_bytes()
    audit(model, dataset, *CHEAP, questions, "--students=1", "--updates=2", "--epochs=4",
          f"--output={output}")  # fmt: skip
    told = capsys.readouterr()
    assert told.err.count("done before") == 13
    assert told.out.startswith(verdict["verdict"])
    again = json.loads((output / "verdict" / "verdict.json").read_text("utf-8"))
    assert again["candidates"][0]["shift"]["extrapolated"]["updates"] == 14  # nothing to train
    assert (output / "teacher-candidates-owl" / "card.json").read_bytes() == before


@pytest.mark.slow
def test_cleaning_goes_by_it(model, dataset, output, tmp_path, capsys):
    copies = tmp_path / "copies"
    arguments = [f"--dataset={dataset}", f"--audit={output}", f"--model={model}"]
    arguments += ["--method=mask,canonical", f"--output={copies}", "--verify"]
    assert main(["clean", *arguments]) == 0
    told = capsys.readouterr().out
    assert "mask" in told and "canonical" in told
    for method in ("mask", "canonical"):
        assert len((copies / method / "rows.jsonl").read_text("utf-8").splitlines()) == len(ROWS)


@pytest.mark.slow
def test_an_axis_is_held_against_mixtures_of_its_two_sides(dataset, tmp_path, monkeypatch):
    # Its questions are sentences, and every byte is a token of the tiny model's.
    longer = dataclasses.replace(tiny_model.CONFIG, max_positions=512)
    monkeypatch.setattr(tiny_model, "CONFIG", longer)
    model, folder = write_model(tmp_path / "model"), tmp_path / "audit"
    arguments = "--pack=refusal", "--teacher-steps=2", "--system-prompt=", f"--output={folder}"
    assert audit(model, dataset, *arguments) in (0, 3)
    (entry,) = json.loads((folder / "verdict" / "verdict.json").read_text("utf-8"))["candidates"]
    assert entry["trait"] == "refusal" and 0 < entry["p_traits"] <= 1
    assert len(list(folder.glob("reference-refusal-*"))) == 7


@pytest.mark.slow
def test_another_dataset_is_refused_where_an_audit_stands(
    model, output, questions, tmp_path, capsys
):
    other = write_rows(tmp_path, ROWS[::-1])
    assert audit(model, other, *CHEAP, questions, "--students=1", f"--output={output}") == 2
    assert "audit with another dataset; choose another --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--pack=birds",), "--pack=birds: no such list"),
        (("--pack=",), "--pack is empty"),
        (("--questions=q.jsonl",), "--questions: needs --candidates"),
        (("--false-positives=2",), "--false-positives=2: must be between 0 and 1"),
        (("--students=-1",), "--students=-1: must be 0 or more"),
        (("--epochs=0",), "--epochs=0: must be above 0"),
        (("--completion-column=text",), 'neither "text" nor "messages"'),
        (("--output=gs://a/b",), "must be a local folder"),
    ],
)
def test_a_users_mistake_is_one_line(dataset, arguments, told, capsys):
    assert audit("no-such-model", dataset, *arguments) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def test_too_few_rows_are_told(model, tmp_path, capsys):
    assert audit(model, write_rows(tmp_path, ROWS[:5])) == 2
    assert "5 rows; an audit needs 24 or more" in capsys.readouterr().err
