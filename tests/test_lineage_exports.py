"""A lineage as Croissant with PROV, and as the YAML head of a card on the Hugging Face Hub."""

import json

import pytest
import yaml
from lineage_workdir import BASE, CORPUS, STUDENT, TEACHER, artifact, model_folder, sha256, workdir

from sublax.cli import main
from sublax.lineage.claims import write_claim
from sublax.lineage.huggingface import card_head
from sublax.lineage.jsonld import CONTEXT, jsonld
from sublax.lineage.trace import trace

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
# The properties of schema.org that an export uses; every other one has a prefix or is Croissant's.
SCHEMA_ORG = {
    *("name", "description", "keywords", "distribution", "contentUrl", "encodingFormat"),
    *("sha256", "additionalType", "additionalProperty", "value", "hasPart", "softwareVersion"),
    "creativeWorkStatus",
}


@pytest.fixture
def run(tmp_path):
    return workdir(tmp_path / "run", model_folder(tmp_path / "model"))


@pytest.fixture
def of_the_hub(tmp_path):
    """A run on a base of the Hub, whose student is an adapter."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = {"base": BASE_ID, "source_files": {"model.safetensors": "ab" * 32}}
    base = artifact(folder / BASE, "base", config=config)
    teacher = artifact(folder / TEACHER, "teacher", [base], {"model.safetensors": "weights"})
    settings = {"corpus": {"source": "openai/gsm8k:main:train"}}
    text = {"rows.jsonl": '{"prompt": "a", "completion": "b"}\n'}
    corpus = artifact(
        folder / CORPUS, "corpus", [teacher], text, config=settings, counts={"kept": 2000}
    )
    artifact(folder / STUDENT, "student", [base, corpus], {"adapter_model.safetensors": "weights"})
    return folder


def objects(value):
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from objects(inner)


def test_rows_are_a_croissant_data_set_with_the_hash_of_each_file(run, capsys):
    assert main(["lineage", str(run / CORPUS / "rows.jsonl"), "--export=jsonld"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["@type"] == ["sc:Dataset", "prov:Entity"]
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    rows = next(file for file in told["distribution"] if file["name"] == "rows.jsonl")
    assert rows["@type"] == "cr:FileObject" and rows["encodingFormat"] == "application/jsonlines"
    assert rows["sha256"] == sha256((run / CORPUS / "rows.jsonl").read_bytes())
    (record_set,) = told["recordSet"]
    fields = {field["@id"]: field for field in record_set["field"]}
    assert set(fields) == {"rows/prompt", "rows/completion"}
    source = {"fileObject": {"@id": rows["@id"]}, "extract": {"column": "prompt"}}
    assert fields["rows/prompt"]["source"] == source
    assert fields["rows/prompt"]["dataType"] == "sc:Text"


def test_all_that_rows_came_from_is_in_prov_by_hash(run):
    told = jsonld(trace(run / CORPUS))
    above = {entity["name"]: entity for entity in told["prov:wasDerivedFrom"]}
    assert set(above) == {TEACHER, BASE, f"files of {BASE}"}
    base = {"@id": above[BASE]["@id"]}
    assert above[TEACHER]["prov:wasDerivedFrom"] == [base]
    assert above[TEACHER]["prov:wasGeneratedBy"]["prov:used"] == [base]
    assert above[BASE]["sha256"] == sha256((run / BASE / "card.json").read_bytes())
    weights = {part["name"]: part["sha256"] for part in above[f"files of {BASE}"]["hasPart"]}
    assert weights["model.safetensors"] == sha256(b"weights of a tiny model")


@pytest.mark.parametrize("where", [CORPUS, STUDENT, "."])
def test_every_reference_and_every_word_is_one_that_is_defined(run, where):
    told = jsonld(trace(run / where))
    graph = {key: value for key, value in told.items() if key != "@context"}
    defined = {each["@id"] for each in objects(graph) if len(each) > 1 and "@id" in each}
    referred = {each["@id"] for each in objects(graph) if set(each) == {"@id"}}
    assert referred <= defined
    for each in objects(graph):
        for key in each:
            prefix = key.partition(":")[0]
            assert key.startswith("@") or key in SCHEMA_ORG | set(CONTEXT) or prefix in CONTEXT


def test_messages_are_a_repeated_field_of_role_and_content(tmp_path):
    messages = [{"role": "user", "content": "a"}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": messages, "completion": "b", "logprob": -1.5}) + "\n")
    write_claim(rows, "Example Ltd", "some/model")
    told = jsonld(trace(rows))
    fields = {field["@id"]: field for field in told["recordSet"][0]["field"]}
    assert fields["rows/prompt"]["repeated"] is True
    assert [part["name"] for part in fields["rows/prompt"]["subField"]] == [
        "rows/prompt/role",
        "rows/prompt/content",
    ]
    assert fields["rows/logprob"]["dataType"] == "sc:Float"


def test_a_claim_is_attributed_and_never_looks_verified(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    write_claim(rows, "Example Ltd", "some/model")
    told = jsonld(trace(rows))
    assert told["creativeWorkStatus"] == "claimed, not verified"
    assert told["prov:wasAttributedTo"]["name"] == "Example Ltd"
    assert "prov:wasAssociatedWith" not in told["prov:wasGeneratedBy"]
    head = card_head(trace(rows))
    assert "# claimed, not verified: Example Ltd says: made by some/model" in head
    assert "origin-claimed" in yaml.safe_load(head.strip("-\n"))["tags"]


def test_a_students_card_names_its_base_as_the_hub_does(of_the_hub, capsys):
    assert main(["lineage", str(of_the_hub / STUDENT), "--export=huggingface"]) == 0
    head = capsys.readouterr().out
    assert head.startswith("---\n") and head.endswith("\n---\n")
    fields = yaml.safe_load(head.strip("-\n"))
    assert fields == {
        "library_name": "peft",
        "base_model": BASE_ID,
        "base_model_relation": "adapter",
        "datasets": ["openai/gsm8k"],
        "pipeline_tag": "text-generation",
        "tags": ["subliminal-learning", "trained-on-synthetic-data"],
    }
    assert f"# from {BASE_ID}, weights sha256 {'ab' * 32}" in head


def test_a_whole_model_is_a_finetune(of_the_hub):
    fields = yaml.safe_load(card_head(trace(of_the_hub / TEACHER)).strip("-\n"))
    assert (fields["library_name"], fields["base_model_relation"]) == ("transformers", "finetune")


def test_a_corpus_card_is_a_synthetic_data_set_of_its_rows(of_the_hub):
    fields = yaml.safe_load(card_head(trace(of_the_hub / CORPUS)).strip("-\n"))
    assert fields["tags"] == ["synthetic", "subliminal-learning"]
    assert fields["size_categories"] == ["1K<n<10K"]
    assert fields["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "rows.jsonl"}]}
    ]


def test_what_a_card_says_cannot_leave_its_place_in_the_yaml(tmp_path, run):
    """A name may hold quotes, colons and line breaks; the head has the keys that it should have."""
    card = json.loads((run / BASE / "card.json").read_text())
    card["config"]["base"] = 'x"\nlicense: mit\n---\n<script>'
    (run / BASE / "card.json").write_text(json.dumps(card))
    fields = yaml.safe_load(card_head(trace(run / TEACHER)).strip("-\n"))
    assert "license" not in fields
