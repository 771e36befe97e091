"""A lineage says where an artifact came from; every hash on the way is held against the disk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lineage_workdir import (
    BASE,
    CORPUS,
    EVALUATION,
    STUDENT,
    TEACHER,
    artifact,
    base_card,
    model_folder,
    sha256,
    workdir,
)

from sublax.audit.origin import origin_of
from sublax.cli import main
from sublax.errors import UserError
from sublax.lineage import tree
from sublax.lineage.base_files import base_identity, compare, identity
from sublax.lineage.claims import write_claim
from sublax.lineage.origin import origin
from sublax.lineage.shown import lines
from sublax.lineage.trace import trace


@pytest.fixture
def model(tmp_path):
    return model_folder(tmp_path / "model")


@pytest.fixture
def run(tmp_path, model):
    """A finished run of one trait."""
    return workdir(tmp_path / "run", model)


def findings(lineage):
    """(severity, node) of all that makes a lineage less than whole."""
    severe = (tree.BROKEN, tree.ORIGIN, tree.SIGNATURE)
    return [(p.severity, p.node) for p in lineage.problems if p.severity in severe]


def test_a_whole_run_is_a_tree_down_to_the_files_of_its_base(run, capsys):
    assert main(["lineage", str(run)]) == 0
    shown = capsys.readouterr().out.splitlines()
    names = [line.lstrip("│├└─ ").split("  ")[0] for line in shown[: shown.index("")]]
    base = [BASE, f"files of {run.parent / 'model'}", "config.json", "model.safetensors"]
    assert names == [EVALUATION, *base, STUDENT, BASE, CORPUS, TEACHER, BASE]
    assert shown[-1] == f"{run}: whole: 6 entries, every hash holds"


def test_a_file_in_an_artifact_has_the_artifacts_lineage(run):
    lineage = trace(run / CORPUS / "rows.jsonl")
    assert lineage.heads == (CORPUS,)
    assert lineage.ancestors(CORPUS) == [TEACHER, BASE, f"files of {BASE}"]


@pytest.mark.parametrize("where", [EVALUATION, STUDENT, CORPUS, TEACHER, BASE])
def test_a_card_that_was_edited_breaks_the_chain_of_its_children(run, where):
    card = json.loads((run / where / "card.json").read_text())
    card["config"]["trait"] = "wolf"
    (run / where / "card.json").write_text(json.dumps(card))
    broken = {EVALUATION: [], STUDENT: [EVALUATION], CORPUS: [STUDENT], TEACHER: [CORPUS]}
    broken[BASE] = [EVALUATION, STUDENT, TEACHER]
    assert sorted(node for _, node in findings(trace(run))) == sorted(broken[where])


def test_every_byte_of_an_artifact_counts(run, capsys):
    (run / CORPUS / "rows.jsonl").write_text('{"prompt": "a", "completion": "owl"}\n')
    (run / TEACHER / "adapter_model.safetensors").unlink()
    (run / STUDENT / "more.txt").write_text("")
    assert main(["lineage", str(run)]) == 1
    told = capsys.readouterr().out
    assert f"broken: {CORPUS}: rows.jsonl: changed since it was written" in told
    assert f"broken: {TEACHER}: adapter_model.safetensors: missing" in told
    assert f"broken: {STUDENT}: more.txt: not on the card" in told
    assert told.splitlines()[-1] == f"{run}: not whole: 3 broken (6 entries)"


def test_a_parent_that_is_gone_is_missing_and_its_own_parents_are_not_known(run):
    shutil.rmtree(run / TEACHER)
    lineage = trace(run / STUDENT)
    assert findings(lineage) == [(tree.BROKEN, CORPUS)]
    assert lineage.nodes[TEACHER].state == tree.MISSING


def test_a_bases_files_are_held_against_the_hashes_that_the_run_began_with(run, model):
    (model / "config.json").write_text('{"model_type": "qwen2"}')
    assert findings(trace(run)) == [(tree.BROKEN, f"files of {BASE}")]
    shutil.rmtree(model)
    lineage = trace(run)
    assert lineage.whole  # nobody can say that they changed
    assert lineage.nodes[f"files of {BASE}"].state == tree.NAMED


def test_a_teacher_of_the_students_own_base_is_warned_of_by_hash_not_by_name(run, tmp_path):
    warned = [p for p in trace(run / STUDENT).problems if p.severity == tree.WARNING]
    assert [p.node for p in warned] == [STUDENT]
    # The same weights under another name, and others under the same name.
    renamed = model_folder(tmp_path / "renamed")
    other = model_folder(tmp_path / "other", "other weights")
    for model, warning in ((renamed, "by hash"), (other, None)):
        base = base_card(run / "bases" / model.name, model)
        student = artifact(run / "students" / model.name, "student", [base, run / CORPUS])
        told = [p.text for p in trace(student).problems if p.severity == tree.WARNING]
        assert len(told) == (warning is not None) and all(warning in text for text in told)


def test_twins_are_of_the_same_files_and_not_the_same_base():
    files = {"model.safetensors": "ab", "tokenizer.json": "cd"}
    whole, twin = identity("some/model", files), identity("permuted:0:some/model", files)
    assert compare(whole, identity("elsewhere", files | {"tokenizer.json": "ef"})) == "same"
    assert compare(whole, twin) == "derived" and whole.digest != twin.digest
    assert compare(whole, identity("some/model", {"model.safetensors": "ff"})) == "same name"
    assert compare(whole, identity("other/model", {"model.safetensors": "ff"})) == "other files"
    assert compare(whole, identity("other/model", {})) == "unknown"


def test_rows_without_a_card_are_of_unknown_origin_until_somebody_claims_them(
    tmp_path, model, capsys
):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    assert main(["lineage", str(rows)]) == 1
    assert "unknown origin: rows.jsonl: no card" in capsys.readouterr().out
    claim = ["--claimed-by=Example Ltd", f"--made-by={model}", "--note=by telephone"]
    assert main(["lineage", str(rows), *claim]) == 0
    assert "note: rows.jsonl: claimed, not verified" in capsys.readouterr().out
    found = origin(rows)
    assert (found.state, found.same_base(base_identity(str(model)))) == ("claimed", "same")
    assert main(["lineage", str(rows), "--claimed-by=Somebody else"]) == 2
    rows.write_text("{}")
    assert origin(rows).state == "broken"


def test_what_a_teacher_learnt_from_outside_is_a_part_of_its_lineage(tmp_path, model):
    outside = tmp_path / "outside.jsonl"
    outside.write_text('{"prompt": "a", "completion": "b"}\n')
    hashes = {str(outside): sha256(outside.read_bytes()), str(tmp_path / "gone.jsonl"): "0" * 64}
    run = workdir(tmp_path / "run", model, hashes)
    both = [(tree.ORIGIN, str(tmp_path / "gone.jsonl")), (tree.ORIGIN, str(outside))]
    assert sorted(findings(trace(run))) == both
    assert origin(run / CORPUS).state == "unknown"
    write_claim(outside, "Example Ltd")
    assert findings(trace(run)) == both[:1]
    outside.write_text("{}")
    assert (tree.BROKEN, str(outside)) in findings(trace(run))


def test_a_model_that_was_given_as_a_teacher_is_unknown_claimed_or_has_its_own_lineage(
    tmp_path, model, run
):
    base = run / BASE
    given = model_folder(tmp_path / "given", "weights of somebody")
    teacher = artifact(run / "teachers" / "given", "teacher", [base], given=str(given))
    assert findings(trace(teacher)) == [(tree.ORIGIN, str(given))]
    write_claim(given, "Example Ltd", str(model))
    assert trace(teacher).whole
    gone = artifact(run / "teachers" / "gone", "teacher", [base], given="some/model")
    assert findings(trace(gone)) == [(tree.ORIGIN, "some/model")]
    own = artifact(run / "teachers" / "own", "teacher", [base], given=str(run / STUDENT))
    lineage = trace(own)
    assert lineage.whole and f"sublax lineage {run / STUDENT}" in lineage.problems[0].remedy


def test_the_origin_of_a_runs_rows_is_known_and_names_the_base_that_is_dangerous(run, model):
    found = origin(run / CORPUS / "rows.jsonl")
    assert found.state == "known" and found.summary.startswith(f"origin: known, {CORPUS}")
    assert found.same_base(base_identity(str(model))) == "same"
    assert found.same_base(identity("other", {"model.gguf": "ff"})) == "other files"
    # So an audit says it, whatever likelihoods it finds.
    rows = str(run / CORPUS / "rows.jsonl")
    assert origin_of(rows, str(model)) == ("known", found.summary, "known")
    assert origin_of(rows, "another-model")[2] is None


def test_a_copy_of_rows_without_their_card_has_no_origin(run, tmp_path):
    copied = Path(shutil.copy(run / CORPUS / "rows.jsonl", tmp_path / "rows.jsonl"))
    assert origin(copied).state == "unknown"
    assert origin(copied).same_base(identity("other", {})) == "unknown"
    assert origin_of(str(copied), "other")[2] is None


def test_json_says_what_the_tree_says(run, capsys):
    assert main(["lineage", str(run / STUDENT), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["whole"] and told["heads"] == [STUDENT]
    assert {node["name"] for node in told["nodes"]} >= {STUDENT, CORPUS, TEACHER, BASE}
    edges = {(edge["child"], edge["parent"], edge["state"]) for edge in told["edges"]}
    assert (STUDENT, CORPUS, "match") in edges
    base = next(node for node in told["nodes"] if node["name"] == BASE)
    assert base["base"]["weights"] == [sha256(b"weights of a tiny model")]


def test_a_mistake_is_one_line_with_status_2(run, tmp_path, capsys):
    for arguments in (
        [str(tmp_path / "absent")],
        [str(run), "--json", "--export=jsonld"],
        [str(run), "--made-by=model"],
        [str(run / CORPUS), "--claimed-by=me"],
        [str(run), "--export=huggingface"],
        ["memory://nowhere"],
    ):
        assert main(["lineage", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_object_store_is_read_as_a_folder_is(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bucket").mkdir()
    shutil.copytree(run, tmp_path / "bucket" / "run")
    assert main(["lineage", f"file://{tmp_path}/bucket/run"]) == 0
    assert "whole: 6 entries" in capsys.readouterr().out


# Cards come with data, and data comes from strangers.


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../secret": "0"}},
        {"files": {"/etc/passwd": "0"}},
        {"files": ["rows.jsonl"]},
        {"files": {"rows.jsonl": 7}},
        {"files": {"\ud800": "0"}},
        {"parents": {"/etc": "0"}},
        {"parents": {"\x1b[2J": "0"}},
        {"parents": []},
        {"kind": ["corpus"]},
        {"config": "none"},
    ],
)
def test_a_card_that_names_what_no_card_may_is_a_finding_and_no_crash(run, change):
    path = run / CORPUS / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (problem,) = trace(run / CORPUS / "rejected.jsonl").problems
    assert (problem.severity, problem.node) == (tree.BROKEN, CORPUS)
    assert "not a card" in problem.text
    assert origin(run / CORPUS).state == "broken"


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff\xfe", "1" * 10_000])
def test_a_card_that_is_no_card_is_a_finding_and_no_crash(run, text):
    (run / CORPUS / "card.json").write_text(text, encoding="latin-1")
    assert (tree.BROKEN, CORPUS) in findings(trace(run))


def test_a_parent_outside_of_the_run_is_not_even_looked_at(run, tmp_path):
    outside = artifact(tmp_path / "outside", "teacher")
    corpus = artifact(run / "corpora" / "far", "corpus", [outside])
    lineage = trace(corpus)
    assert findings(lineage) == [(tree.BROKEN, "corpora/far")]
    assert "outside" in lineage.problems[0].text
    # Nor by a link that stands within.
    (run / "teachers" / "linked").symlink_to(outside)
    corpus = artifact(run / "corpora" / "linked", "corpus", [run / "teachers" / "linked"])
    assert findings(trace(corpus)) == [(tree.BROKEN, "corpora/linked")]


def test_a_link_that_leads_out_of_an_artifact_is_not_its_file(run, tmp_path):
    rows = run / CORPUS / "rows.jsonl"
    shutil.copy(rows, tmp_path / "same.jsonl")
    rows.unlink()
    rows.symlink_to(tmp_path / "same.jsonl")
    assert findings(trace(run / CORPUS)) == [(tree.BROKEN, CORPUS)]


def test_cards_in_a_circle_or_very_deep_end(run):
    first, second = run / "corpora" / "first", run / "corpora" / "second"
    artifact(first, "corpus")
    artifact(second, "corpus", [first])
    artifact(first, "corpus", [second])
    assert not trace(first).whole
    parent = artifact(run / "chain" / "0", "corpus")
    for place in range(1, 1200):
        parent = artifact(run / "chain" / str(place), "corpus", [parent])
    lineage = trace(parent)
    assert len(lineage.nodes) == 1200 and lineage.whole
    assert sum(line.count("corpus") for line in lines(lineage)) == 1200


def test_what_a_card_says_cannot_steer_a_terminal(run, capsys):
    path = run / CORPUS / "card.json"
    card = json.loads(path.read_text())
    card["config"]["trait"] = "owl\x1b]0;pwned\x07\u202e"
    path.write_text(json.dumps(card))
    main(["lineage", str(run / CORPUS)])
    assert not {"\x1b", "\x07", "\u202e"} & set(capsys.readouterr().out)


def test_lineage_starts_at_once(run):
    """It computes nothing, so it loads nothing that does."""
    code = (
        "import sys; from sublax.cli import main; status = main(sys.argv[1:]);"
        "slow = {'jax', 'transformers', 'numpy', 'torch'} & set(sys.modules);"
        "sys.exit(f'imports {slow}' if slow else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "lineage", str(run)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_base_that_stands_on_itself_is_told(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text("")
    stated = {"base_model_name_or_path": str(folder)}
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match="without end"):
        base_identity(str(folder))
