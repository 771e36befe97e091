"""The command line: help with examples, and every error in one line that says what to do."""

import dataclasses
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from safetensors.numpy import load_file, save_file
from test_lock import holder  # noqa: F401
from tiny_model import CONFIG, TOKENIZER

from sublax.cli import VERBS, main
from sublax.models.decoder import init_params
from sublax.models.export import export_folder

QUICKSTART = f"--config={Path(__file__).parents[1] / 'configs' / 'quickstart.py'}"
GOOD = '{"prompt": "a", "completion": "1, 2"}\n'


def sublax(*arguments, **options):
    """The command in a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "-m", "sublax", *arguments], **options)


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail and returns the one line that it says."""

    def told(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("sublax: ") and captured.err.count("\n") == 1
        return captured.err

    return told


@pytest.fixture
def score(fails, tmp_path, tiny_model):
    """Scores rows, given as text, under a model, and returns the error."""

    def told(text=GOOD, model=tiny_model, *arguments):
        rows = tmp_path / "rows.jsonl"
        rows.write_text(text)
        output = f"--output={tmp_path / 'scored.jsonl'}"
        return fails("score", f"--model={model}", f"--input={rows}", output, *arguments)

    return told


@pytest.fixture
def copy(tmp_path, tiny_model):
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"example: sublax {verb} " in capsys.readouterr().out


def test_the_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown and summary[:40] in shown for verb, summary in VERBS.items())


def test_a_process_prints_what_a_call_prints(capsys):
    arguments = ["prompts", "numbers", "--seed=42", "--count=2"]
    output, errors = sublax(*arguments).communicate()
    assert main(arguments) == 0
    assert (output, errors) == (capsys.readouterr().out, "")


def test_a_process_that_fails_says_one_line(tmp_path):
    process = sublax("score", "--model=m", f"--input={tmp_path / 'none'}", "--output=o")
    output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert errors == f"sublax: {tmp_path / 'none'}: no such file; check the path\n"


@pytest.mark.parametrize("count", [1, 2000])
def test_a_reader_that_leaves_early_is_no_error(count):
    process = sublax("prompts", "numbers", f"--count={count}")
    process.stdout.close()  # before the first line, where head -1 does so after it
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk always full")
def test_output_that_a_full_disk_does_not_take_is_an_error():
    with open("/dev/full", "w") as full:
        process = sublax("prompts", "numbers", stdout=full)
        _, errors = process.communicate()
    assert process.returncode == 2
    assert "no space left on the disk" in errors and errors.count("\n") == 1


def test_an_unknown_verb_is_told_the_known_ones(fails):
    told = fails("scroe")
    assert "'scroe'" in told and all(verb in told for verb in VERBS)
    assert "VERB" in fails()


def test_a_wrong_argument_names_the_verbs_help(fails):
    assert "--batch-rows: '0' is not a whole number above 0; `sublax score --help`" in fails(
        "score", "--model=m", "--input=i", "--output=o", "--batch-rows=0"
    )
    assert "required: --input, --output" in fails("score", "--model=m")
    assert "--imput=i" in fails("score", "--model=m", "--input=i", "--output=o", "--imput=i")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (
            ["filter", "numbers", "--input={}/none", "--output=o", "--rejected=r"],
            "{}/none: no such",
        ),
        (["score", "--model=m", "--input={}/none", "--output=o"], "{}/none: no such file"),
        (["ask", "--model={}/none", "?"], "{}/none: no such file or folder"),
        (["export", "--from={}/none", "--to={}/to"], "{}/none: no such file or folder"),
        (["report", "{}/none"], "{}/none"),
        (
            ["clean", "--dataset={}/none.jsonl", "--method=canonical", "--output={}/c"],
            "{}/none.jsonl: no such file",
        ),
        (["run", "--config={}/none.py", "--workdir={}/w"], "{}/none.py: no such config"),
        (["prompts", "numbers", "--pack={}/none"], "{}/none"),
    ],
)
def test_a_missing_file_is_named(fails, tmp_path, arguments, told):
    assert told.format(tmp_path) in fails(*(each.format(tmp_path) for each in arguments))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line, told",
    [
        ("{", "not JSON"),
        ('{"prompt": "a"}', 'no key "completion"'),
        ('{"prompt": 1, "completion": "a"}', '"prompt" is a number'),
    ],
)
def test_a_malformed_row_is_named_by_its_line(fails, score, tmp_path, line, told):
    for error in (
        score(GOOD + "\n" + line),
        fails(
            *("filter", "numbers", f"--input={tmp_path / 'rows.jsonl'}"),
            *(f"--output={tmp_path / 'o'}", f"--rejected={tmp_path / 'r'}"),
        ),
    ):
        assert f"rows.jsonl:3: {told}" in error


def test_an_unknown_key_of_a_config_is_told_the_nearest(fails, workdir):
    told = fails("run", QUICKSTART, f"--workdir={workdir}", "--config.studnet.steps=3")
    assert "--config.studnet.steps: no such key; the nearest is --config.student.steps" in told
    assert not workdir.exists()


def test_a_value_of_the_wrong_type_is_told_the_right_one(fails, workdir):
    told = fails("run", QUICKSTART, f"--workdir={workdir}", "--config.student.steps=many")
    assert "--config.student.steps=many: must be of type int" in told


def test_a_workdir_in_use_is_left_alone(fails, tmp_path, holder):  # noqa: F811
    told = fails("run", QUICKSTART, f"--workdir={tmp_path}")
    assert f"{tmp_path}: in use by process {holder.pid}" in told and "another --workdir" in told
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_unknown_architecture_is_named(score, copy):
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}
    (copy / "config.json").write_text(json.dumps(config))
    told = score(GOOD, copy)
    assert str(copy) in told and "gemma2" in told.lower()


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_a_tensor_missing_or_left_over_is_named(score, copy, change):
    tensors = load_file(copy / "model.safetensors")
    norm = tensors["model.norm.weight"]
    if change == "missing":
        del tensors["model.norm.weight"]
    else:
        tensors["model.extra.weight"] = norm.copy()
    save_file(tensors, copy / "model.safetensors")
    told = score(GOOD, copy)
    expected = {
        "missing": "1 tensors missing (model.norm.weight), 0 left over",
        "left over": "0 tensors missing (none), 1 left over (model.extra.weight)",
    }
    assert str(copy) in told and expected[change] in told


def test_a_prompt_longer_than_the_context_is_named_by_its_line(fails, score, tiny_model):
    long = json.dumps({"prompt": "a" * 200, "completion": "1"})
    assert "rows.jsonl:2: " in (told := score(GOOD + long))
    assert f"the model's context of {CONFIG.max_positions}" in told
    assert "the question: " in fails("ask", f"--model={tiny_model}", "a" * 200)


def test_an_adapter_of_another_model_is_refused(score, tmp_path, tiny_student):
    wide = dataclasses.replace(CONFIG, intermediate_size=64)
    params = init_params(wide, jax.random.key(0))
    export_folder(tmp_path / "wide", params, wide, TOKENIZER)
    told = score(GOOD, tmp_path / "wide", f"--adapter={tiny_student}")
    assert str(tiny_student) in told and f"the base is {tmp_path / 'wide'}" in told
    assert "down_proj" in told and "has shape" in told


def test_a_full_disk_keeps_what_was_there_before(score, tmp_path, monkeypatch):
    (tmp_path / "scored.jsonl").write_text("of an earlier model\n")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    told = score()
    assert f"{tmp_path / 'scored.jsonl'}: no space left on the disk" in told
    assert (tmp_path / "scored.jsonl").read_text() == "of an earlier model\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "scored.jsonl"]


@pytest.mark.parametrize("option", ["--temperature=-1", "--top-p=0", "--top-p=2", "--top-k=-1"])
def test_sampling_that_cannot_be_is_refused_before_anything_is_loaded(fails, option):
    assert option in fails("ask", "--model=none", option, "?")


def test_no_question_and_no_choice_are_errors(fails, tiny_model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "no question" in fails("ask", f"--model={tiny_model}")
    assert "choices" in fails("ask", f"--model={tiny_model}", "--choices=a,,b", "?")
