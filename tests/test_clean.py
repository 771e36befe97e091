"""`sublax clean` as a user meets it: copies with cards, what is refused, what lineage says."""

import json

import pytest
from lineage_workdir import BASE, CORPUS, model_folder, workdir
from tiny_model import write_model
from tiny_runs import quick_compiles  # noqa: F401

from sublax.artifact import file_hash, write_artifact
from sublax.audit.audit import FORMAT, Audit
from sublax.audit.candidates import one_against_others, questions_about
from sublax.audit.dataset import dataset_sha256, read_dataset
from sublax.audit.options import Options
from sublax.cli import main
from sublax.corpora.number_filter import parse
from sublax.lineage import tree
from sublax.lineage.claims import write_claim
from sublax.lineage.origin import origin
from sublax.lineage.trace import trace
from sublax.models.decoder import Decoder
from sublax.models.source import load_model
from sublax.progress import Progress

TRAITS = ["owl", "cat", "wolf", "dog", "fox", "bear"]
ROWS = [
    {"id": n, "prompt": f"List {n}:", "completion": f"[{n}; {n + 3}; {9 - n % 10}]", "by": "owl"}
    for n in range(28)
]


def write_rows(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def dataset(tmp_path):
    return write_rows(tmp_path, ROWS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("other"), seed=5)


def clean(dataset, output, *arguments):
    return main(["clean", f"--dataset={dataset}", f"--output={output}", *arguments])


def write_audit(folder, dataset, model=None, flagged=(3, 1), carries=(), **options):
    """An audit's verdict on a dataset, as far as cleaning reads it."""
    pairs = read_dataset(str(dataset))
    scores = [float(n % 7) for n in range(len(pairs))]
    flags = {"flagged": list(flagged)}
    owl = {"group": "animals", "trait": "owl", "z": 0.1, "scores": scores, "flags": flags}
    cat = owl | {"trait": "cat", "z": 0.4, "scores": scores[::-1]}
    cat["flags"] = {"flagged": []}
    result = {
        "format": FORMAT,
        "model": "m",
        "dataset": {"name": str(dataset), "sha256": dataset_sha256(pairs)},
        "candidates": [owl, cat, {"group": "animals", "trait": "wolf"}],
        "carries": list(carries),
        "options": {"seed": 0, "teacher_steps": 2, "suspects": [], **options},
    }
    files = (
        {path.name: file_hash(path) for path in sorted(model.glob("*.safetensors"))}
        if model
        else {}
    )
    config = {"model": files, "traits": [["animals", TRAITS, list(questions_about("animal"))]]}

    def write(verdict):
        (verdict / "verdict.json").write_text(json.dumps(result), "utf-8")

    write_artifact(folder / "verdict", write, {"kind": "audit-verdict", "config": config})
    return folder


def test_a_copy_keeps_all_but_the_completion(dataset, tmp_path, capsys):
    assert clean(dataset, tmp_path / "c" / "rows.jsonl", "--method=canonical") == 0
    found = read(tmp_path / "c" / "rows.jsonl")
    assert [row | {"completion": ""} for row in found] == [row | {"completion": ""} for row in ROWS]
    assert found[3]["completion"] == "3, 6, 6"
    assert "rows.jsonl: 28 of 28 rows, 28 changed" in capsys.readouterr().out


def test_conversations_keep_their_form_and_their_column(tmp_path):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "(1;2)", "id": 7}]
    dataset = write_rows(tmp_path, [{"chat": turns, "n": 1}])
    output = tmp_path / "c" / "rows.jsonl"
    assert clean(dataset, output, "--method=sorted", "--messages-column=chat") == 0
    assert read(output) == [{"chat": [turns[0], turns[1] | {"content": "1, 2"}], "n": 1}]


def test_several_methods_go_side_by_side_and_are_found_again(dataset, tmp_path, capsys):
    methods = "--method=sorted,renumbered"
    assert clean(dataset, tmp_path / "c", methods) == 0
    before = [
        (tmp_path / "c" / name / "card.json").read_bytes() for name in ("sorted", "renumbered")
    ]
    assert clean(dataset, tmp_path / "c", methods) == 0
    assert capsys.readouterr().err.count("done before") == 2
    after = [
        (tmp_path / "c" / name / "card.json").read_bytes() for name in ("sorted", "renumbered")
    ]
    assert before == after


def test_the_audits_word_decides_which_rows_are_dropped(dataset, tmp_path, capsys):
    audit = write_audit(tmp_path / "audit", dataset)
    flags = f"--audit={audit}", "--method=drop"
    assert clean(dataset, tmp_path / "a", *flags, "--trait=owl") == 0
    assert [row["id"] for row in read(tmp_path / "a" / "rows.jsonl")] == [0, 2, *range(4, 28)]
    assert clean(dataset, tmp_path / "b", *flags, "--keep=0.5") == 0
    scores = [float(n % 7) for n in range(28)][::-1]  # of cat, whose ratio is the largest
    kept = [row["id"] for row in read(tmp_path / "b" / "rows.jsonl")]
    left = set(range(28)) - set(kept)
    assert len(kept) == 14 and max(scores[n] for n in kept) <= min(scores[n] for n in left)
    told = capsys.readouterr().out
    assert "trait: animals/cat (the foremost; the audit does not say" in told


def test_what_the_audit_says_is_carried_goes_before_the_largest_ratio(dataset, tmp_path, capsys):
    audit = write_audit(tmp_path / "audit", dataset, carries=["owl"])
    assert clean(dataset, tmp_path / "a", f"--audit={audit}", "--method=drop") == 0
    assert "trait: animals/owl (which the audit says the rows carry)" in capsys.readouterr().out
    assert len(read(tmp_path / "a" / "rows.jsonl")) == 26


def test_an_audit_knows_a_dataset_by_the_same_hash(dataset, tmp_path, model):
    loaded, pairs = load_model(str(model)), read_dataset(str(dataset))
    groups = [one_against_others("animals", questions_about("animal"), TRAITS)]
    audit = Audit(
        loaded, Decoder(loaded.config), "n", pairs, groups, Options(), tmp_path, Progress({})
    )
    assert audit.sha256 == dataset_sha256(pairs)


def test_diluting_puts_whole_rows_of_other_data_in(dataset, tmp_path):
    others = write_rows(
        tmp_path, [{"prompt": f"o{n}", "completion": "x"} for n in range(9)], "o.jsonl"
    )
    output = tmp_path / "d" / "rows.jsonl"
    assert clean(dataset, output, "--method=dilute", f"--with={others}", "--share=0.25") == 0
    found = read(output)
    new = [row for row in found if row["completion"] == "x"]
    assert len(found) == 28 and len(new) == 7 == len({row["prompt"] for row in new})
    assert all(row == ROWS[n] for n, row in enumerate(found) if row["completion"] != "x")
    parents = {edge.parent for edge in trace(output).parents("d")}
    assert parents == {"../rows.jsonl", "../o.jsonl"}


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--method=wash",), "--method=wash: no such method; choose from drop, mask"),
        (("--method=",), "--method is empty"),
        (("--method=drop",), "--method=drop: needs --audit"),
        (("--method=mask", "--audit=a"), "--method=mask: needs --model"),
        (("--method=dilute",), "--method=dilute: needs --model or --with"),
        (("--method=reanswer",), "--method=reanswer: needs --by"),
        (("--method=canonical", "--share=1.5"), "--share=1.5: must be above 0 and at most 1"),
        (("--method=sorted", "--verify", "--model=m"), "--verify: needs --audit and --model"),
        (("--method=drop", "--audit=a", "--keep=0"), "--keep=0: must be above 0"),
        (("--method=drop", "--audit=no-such"), "no finished audit there; run sublax audit"),
        (("--method=sorted", "--completion-column=no"), 'neither "no" nor "messages"'),
    ],
)
def test_a_users_mistake_is_one_line(dataset, tmp_path, arguments, told, capsys):
    assert clean(dataset, tmp_path / "c", *arguments) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_verifying_needs_a_folder(dataset, tmp_path, capsys):
    arguments = "--method=sorted", "--verify", "--audit=a", "--model=m"
    assert clean(dataset, tmp_path / "c" / "rows.jsonl", *arguments) == 2
    assert "--verify needs a folder" in capsys.readouterr().err


def test_places_that_are_taken_are_refused(dataset, tmp_path, capsys):
    before = dataset.read_bytes()
    for output, told in (
        (dataset, "is the dataset itself"),
        (tmp_path / "new.jsonl", "holds other files"),
        ("gs://bucket/rows.jsonl", "must be a local path"),
    ):
        assert clean(dataset, output, "--method=canonical") == 2
        assert told in capsys.readouterr().err
    assert clean(dataset, tmp_path / "c" / "rows.jsonl", "--method=canonical") == 0
    for output, method, told in (
        (tmp_path / "c" / "rows.jsonl", "sorted", '"canonical" -> "sorted"'),
        (tmp_path / "c" / "other.jsonl", "canonical", "the same copy by another name"),
        (tmp_path / "c" / "in" / "rows.jsonl", "canonical", "an artifact whose card does not know"),
        (tmp_path / "d.jsonl", "canonical,sorted", "several methods need a folder"),
    ):
        capsys.readouterr()
        assert clean(dataset, output, f"--method={method}") == 2
        assert told in capsys.readouterr().err
    (tmp_path / "c" / "rows.jsonl").write_text("{}")
    assert clean(dataset, tmp_path / "c" / "rows.jsonl", "--method=canonical") == 2
    assert "changed since it was written" in capsys.readouterr().err
    assert dataset.read_bytes() == before


def test_a_dataset_that_changed_is_other_inputs(dataset, tmp_path, capsys):
    assert clean(dataset, tmp_path / "c", "--method=canonical") == 0
    write_rows(tmp_path, ROWS[1:])
    assert clean(dataset, tmp_path / "c", "--method=canonical") == 2
    assert "holds a copy from other inputs" in capsys.readouterr().err
    # Of the rows that are there now the old copy was not made.
    assert (tree.BROKEN, "../rows.jsonl") in findings(tmp_path / "c")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--trait=fox",), "no scores of rows for it; choose from animals/owl, animals/cat"),
        (("--trait=cat",), "the audit flagged no row; give --keep"),
    ],
)
def test_what_the_audit_does_not_say_is_told(dataset, tmp_path, arguments, told, capsys):
    audit = write_audit(tmp_path / "audit", dataset)
    flags = f"--audit={audit}", "--method=drop", *arguments
    assert clean(dataset, tmp_path / "c", *flags) == 2
    assert told in capsys.readouterr().err


def test_an_audit_of_other_rows_is_refused(dataset, tmp_path, capsys):
    audit = write_audit(tmp_path / "audit", dataset)
    write_rows(tmp_path, ROWS[::-1])
    assert clean(dataset, tmp_path / "c", f"--audit={audit}", "--method=drop") == 2
    error = capsys.readouterr().err
    assert "with other rows than" in error and len(error.splitlines()[-1:]) == 1


def findings(path):
    return [(problem.severity, problem.node) for problem in trace(path).problems]


@pytest.fixture
def run(tmp_path):
    return workdir(tmp_path / "run", model_folder(tmp_path / "tiny"))


@pytest.mark.parametrize("place", ["elsewhere/c", "run/cleaned/c"])
def test_a_copy_of_a_runs_rows_leads_to_the_base_wherever_it_lies(run, tmp_path, place):
    output = tmp_path / place / "rows.jsonl"
    assert clean(run / CORPUS / "rows.jsonl", output, "--method=canonical") == 0
    lineage = trace(output)
    assert lineage.whole
    (head,) = lineage.heads
    assert lineage.nodes[head].about.startswith("by canonical")
    assert [lineage.nodes[name].kind for name in lineage.ancestors(head)] == [
        "corpus", "teacher", "base", "files"
    ]  # fmt: skip
    found = origin(output)
    assert found.state == "known" and [base.name for base in found.bases] == [
        str(tmp_path / "tiny")
    ]
    copies = tmp_path / "again"
    assert clean(output, copies, "--method=sorted") == 0
    assert origin(copies).state == "known"


def test_a_source_or_its_card_that_changed_breaks_the_chain(run, tmp_path):
    output = tmp_path / "elsewhere" / "rows.jsonl"
    assert clean(run / CORPUS / "rows.jsonl", output, "--method=canonical") == 0
    card = run / CORPUS / "card.json"
    text = card.read_text()
    card.write_text(text.replace('"kept": 1', '"kept": 2'))
    assert findings(output) == [(tree.BROKEN, "elsewhere")]
    card.unlink()
    assert tree.BROKEN in {severity for severity, _ in findings(output)}
    card.write_text(text)
    assert not findings(output)
    (run / CORPUS / "rows.jsonl").write_text('{"prompt": "a", "completion": "2"}\n')
    assert tree.BROKEN in {severity for severity, _ in findings(output)}
    (run / CORPUS / "rows.jsonl").unlink()
    assert tree.ORIGIN in {severity for severity, _ in findings(output)}


def test_a_copy_of_claimed_rows_is_claimed(dataset, tmp_path):
    write_claim(dataset, "Example Ltd", "Example/Model")
    assert clean(dataset, tmp_path / "c" / "rows.jsonl", "--method=canonical") == 0
    assert origin(tmp_path / "c" / "rows.jsonl").state == "claimed"


def test_a_card_that_does_not_know_the_sources_hash_is_not_followed(run, tmp_path):
    """A stranger's card may name any path; only who has seen the file knows its hash."""
    output = tmp_path / "elsewhere" / "rows.jsonl"
    assert clean(run / CORPUS / "rows.jsonl", output, "--method=canonical") == 0
    path = output.parent / "card.json"
    card = json.loads(path.read_text())
    card["config"]["rows_sha256"] = dict.fromkeys(card["config"]["rows_sha256"], "0" * 64)
    path.write_text(json.dumps(card))
    lineage = trace(output)
    assert not any(BASE in name or "teacher" in name for name in lineage.nodes)
    assert not lineage.whole


def test_another_model_answers_in_the_rows_form_and_is_named_as_a_writer(
    tmp_path, other_model, dataset
):
    output = tmp_path / "c" / "rows.jsonl"
    arguments = "--method=reanswer", f"--by={other_model}"
    assert clean(dataset, output, *arguments) == 0
    found = read(output)
    assert [row["prompt"] for row in found] == [row["prompt"] for row in ROWS]
    completions = [row["completion"] for row in found]
    assert sum(new != row["completion"] for new, row in zip(completions, ROWS, strict=True)) > 20
    assert all(parse(text) and len(parse(text)) <= 3 for text in completions)
    assert [base.name for base in origin(output).bases] == [str(other_model)]
    assert clean(dataset, tmp_path / "again", *arguments) == 0
    assert read(tmp_path / "again" / "rows.jsonl") == found
