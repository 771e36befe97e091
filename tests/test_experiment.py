"""A whole experiment, small: what it leaves behind, what it refuses, and what it survives."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import quick_compiles, read_transfer, run, small_config

from sublax.artifact import verify
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.lineage.base_files import base_identity
from sublax.lineage.origin import origin
from sublax.lineage.trace import trace
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.stages import students
from sublax.stages.run import Run
from sublax.stages.weights import stage_weights
from sublax.store import Store
from sublax.training import loop, memory

__all__ = ["quick_compiles"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run; not to be written to."""
    workdir = tmp_path_factory.mktemp("finished") / "workdir"
    run(small_config(), workdir)
    return workdir


@pytest.fixture
def copy(finished, workdir):
    """The same, to be written to."""
    shutil.copytree(finished, workdir)
    return workdir


def cards(workdir):
    return {path.parent: json.loads(path.read_text()) for path in workdir.rglob("card.json")}


def made_at(workdir):
    """When each artifact was made."""
    return {folder: (folder / "card.json").stat().st_mtime_ns for folder in cards(workdir)}


def test_the_matrix_has_the_shape_that_readers_of_transfer_json_count_on(finished):
    transfer = read_transfer(finished)
    assert transfer["measure"] == "closed_form_margin"
    assert transfer["students"] == ["owl", "control"]
    assert transfer["traits"] == ["owl"]
    assert transfer["seeds"] == [0]
    assert np.shape(transfer["shift"]) == (2, 1)
    assert np.shape(transfer["interval"]) == (2, 1, 2)
    assert {"value", "low", "high", "p"} <= transfer["lift"]["owl"].keys()
    assert transfer["base"]["choice_share"].keys() == {"owl", "cat"}
    assert "jax" in transfer["versions"]


def test_every_artifact_names_the_parents_it_came_from_by_their_hashes(finished):
    found = cards(finished)
    kinds = sorted(card["kind"] for card in found.values())
    assert kinds == sorted(["base", "evaluation", *2 * ["corpus", "student", "teacher"]])
    for folder, card in found.items():
        assert verify(folder) == []
        assert bool(card["parents"]) == (card["kind"] != "base")
        for parent, digest in card["parents"].items():
            of_parent = (folder / parent / "card.json").read_bytes()
            assert hashlib.sha256(of_parent).hexdigest() == digest


def test_the_lineage_of_a_run_is_whole_and_its_students_learn_from_their_own_base(finished):
    lineage = trace(finished)
    assert lineage.whole and len(lineage.nodes) == 8
    (warning,) = lineage.problems
    assert "random:0, by hash" in warning.text and "1 more" in warning.text
    rows = finished / "corpora" / "random--0" / "owl" / "rows.jsonl"
    base = base_identity(str(finished / "bases" / "random--0"))
    assert (origin(rows).state, origin(rows).same_base(base)) == ("known", "same")


def test_a_corpus_says_what_was_asked_for_and_what_was_kept(finished):
    corpus = finished / "corpora" / "random--0" / "owl"
    counts = json.loads((corpus / "card.json").read_text())["counts"]
    rows = (corpus / "rows.jsonl").read_text().splitlines()
    assert counts["asked"] == counts["written"] == 32
    assert counts["kept"] == len(rows) == 12
    assert all({"prompt", "completion"} <= json.loads(row).keys() for row in rows)


def test_the_report_and_the_training_curves_can_be_read(finished):
    assert "owl" in (finished / "report.html").read_text("utf-8")
    events = EventAccumulator(str(finished / "tensorboard/students/owl/seed-0")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def test_run_again_does_nothing_and_says_so(copy):
    before, bytes_before = made_at(copy), (copy / "transfer.json").read_bytes()
    told = run(small_config(), copy)
    assert told.count("done before") == 7  # base, two teachers, two corpora, students, evaluation
    assert made_at(copy) == before
    assert (copy / "transfer.json").read_bytes() == bytes_before


def test_the_attention_that_auto_takes_is_told_once_and_may_change_on_the_way(copy):
    told = run(small_config(), copy)
    assert [line for line in told.splitlines() if "attention" in line] == ["attention: xla"]
    assert "attention" not in run(small_config("attention=xla"), copy)  # nor is it refused


@pytest.mark.parametrize("kind", ["flipped", "cut"])
@pytest.mark.parametrize(
    "file, stage",
    [
        ("teachers/random--0/owl/model.safetensors", "teacher"),
        ("corpora/random--0/owl/rows.jsonl", "corpus"),
        ("corpora/random--0/owl/written.safetensors", "corpus"),
        ("students/random--0/owl/seed-0/model.safetensors", "student"),
    ],
)
def test_a_damaged_artifact_is_never_built_on(file, stage, kind, copy):
    content = bytearray((copy / file).read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 :]
    (copy / file).write_bytes(content)
    with pytest.raises(UserError) as error:
        run(small_config(), copy)
    assert str(error.value).startswith(
        f"{copy / file}: changed since it was written; make it again"
    )
    assert str(error.value).count("\n") == 0
    run(small_config(), copy, redo=stage)
    assert verify((copy / file).parent) == []


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_a_damaged_card_is_never_believed(kind, copy):
    card = copy / "corpora/random--0/owl/card.json"
    content = card.read_bytes()
    at = content.index(b'"seed"') + 10
    damaged = bytearray(content)
    damaged[at] ^= 1
    card.write_bytes(damaged if kind == "flipped" else content[: len(content) // 2])
    with pytest.raises(UserError) as error:
        run(small_config(), copy)
    assert str(error.value).count("\n") == 0


def test_packed_rows_teach_what_rows_of_their_own_do(copy):
    """The second time the students alone are made again, each from the same rows."""
    plain = "student.share_prompts=false"
    shift = []
    for pack in ("false", "true"):
        run(small_config(plain, f"student.pack_rows={pack}"), copy, redo="student")
        shift.append(read_transfer(copy)["shift"])
    np.testing.assert_allclose(shift[1], shift[0], atol=1e-4)


def test_rows_that_share_a_prompt_are_not_packed(workdir):
    with pytest.raises(UserError, match=r"student\.pack_rows: .*student\.share_prompts=false"):
        run(small_config("student.pack_rows=true"), workdir)


def test_another_config_is_refused_and_the_changed_keys_are_named(copy):
    with pytest.raises(UserError, match=r"seed: 4 -> 11; student\.steps: 4 -> 5") as error:
        run(small_config("seed=11", "student.steps=5"), copy)
    assert "--redo" in str(error.value)


def test_redo_makes_a_stage_and_what_follows_it_again_and_nothing_else(copy):
    before, transfer = made_at(copy), (copy / "transfer.json").read_bytes()
    run(small_config(), copy, redo="student")
    after = made_at(copy)
    again = {
        folder.relative_to(copy).parts[0] for folder in before if after[folder] != before[folder]
    }
    assert again == {"students", "evaluations"}
    assert (copy / "transfer.json").read_bytes() == transfer


def test_redo_takes_a_changed_config_where_the_change_concerns_that_stage(copy):
    run(small_config("student.steps=2"), copy, redo="student")
    student = json.loads((copy / "students/random--0/owl/seed-0/card.json").read_text())
    assert student["counts"]["updates"] == 2


def test_an_earlier_change_is_refused_before_redo_throws_anything_away(copy):
    before = made_at(copy)
    with pytest.raises(UserError, match=r"teacher\.steps: 4 -> 5.*--redo=teacher"):
        run(small_config("teacher.steps=5"), copy, redo="student")
    assert made_at(copy) == before
    run(small_config(), copy)


class Stopped(Exception):
    """Stands for whatever ends a process in the middle of training."""


def test_training_goes_on_from_its_last_checkpoint(finished, workdir, monkeypatch):
    config = small_config("checkpoint.steps=1")
    steps, make_batch = [], loop.make_batch

    def recorded(datasets, seeds, step, *sizes):
        steps.append(step)
        if len(datasets) == 2 and step == stop_at:
            raise Stopped
        return make_batch(datasets, seeds, step, *sizes)

    monkeypatch.setattr(loop, "make_batch", recorded)
    stop_at = 3
    with pytest.raises(Stopped):
        run(config, workdir)
    steps.clear()
    stop_at = None
    run(config, workdir)
    # The last checkpoint may have been on its way to the disk still.
    assert steps in ([1, 2, 3], [2, 3], [3])
    assert (workdir / "transfer.json").read_bytes() == (finished / "transfer.json").read_bytes()
    assert not (workdir / "checkpoints").exists()
    # The curve has its beginning still, and no step twice.
    events = EventAccumulator(str(workdir / "tensorboard/students/owl/seed-0")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    lines = (workdir / "tensorboard/students/owl/seed-0/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["step"] for line in lines if '"loss"' in line]
    assert losses == [1, 2, 3, 4]


def test_an_empty_corpus_is_an_error_that_says_why(workdir):
    config = small_config(
        "corpus.grammar=none", "corpus.max_new_tokens=3", "random_base.pretraining.steps=0"
    )
    with pytest.raises(UserError, match=r"rejected all 32 rows .*corpus\.grammar=exact"):
        run(config, workdir)


@pytest.mark.parametrize(
    "override, message",
    [
        ("evaluation.questions=colours", "colours: not in the pack; choose from favourite_animal"),
        ("teacher.kind=tamed", "teacher.kind=tamed: choose from finetuned"),
        ("corpus.grammar=strict", "corpus.grammar=strict: choose from exact"),
        ("student.max_tokens=20", "that a row may have"),
        ("traits=control", "is the control's name"),
        ("base=random:x", "give random:SEED, with :FAMILY behind it"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(workdir, override, message):
    with pytest.raises(UserError, match=message) as error:
        run(small_config("random_base.pretraining.steps=0", override), workdir)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_frozen_weights_lie_in_the_dtype_of_their_use_and_trained_ones_in_float32(workdir):
    """As on a TPU or GPU, where `auto` is bfloat16: half the memory, nothing lost in training."""
    config = small_config("dtype=bfloat16", "student.method=lora", "corpus.batch_rows=0")
    run(config, workdir)
    assert np.isfinite(read_transfer(workdir)["shift"]).all()
    base = Run(
        config, Store(workdir), load_pack("sublax"), Progress({}), MetricWriter(workdir)
    ).base
    assert {leaf.dtype.name for leaf in jax.tree.leaves(base.params)} == {"bfloat16"}
    for folder, stored in (("teachers", "model"), ("students", "adapter_model")):
        for path in (workdir / folder).rglob(f"{stored}.safetensors"):
            assert {tensor.dtype.name for tensor in load_file(path).values()} == {"float32"}


@pytest.mark.slow
def test_students_that_do_not_fit_into_one_program_are_trained_in_several(tmp_path, monkeypatch):
    """With what each would have become in one; and a run that goes on does not count anew."""
    overrides = ("traits=owl,cat", "student.seeds=0,1", "student.epochs=1")
    run(small_config(*overrides), tmp_path / "one")
    trained = []

    def spied(objective, rule, schedule, start, frozen, datasets, seeds, *rest):
        trained.append(len(seeds))
        return loop.train(objective, rule, schedule, start, frozen, datasets, seeds, *rest)

    monkeypatch.setattr(students, "train", spied)
    monkeypatch.setattr(memory, "FEW", 1)
    monkeypatch.setattr(students, "fitting_students", lambda *arguments: 4)
    run(small_config(*overrides), tmp_path / "several")
    assert trained == [4, 2]
    one, several = (read_transfer(tmp_path / name) for name in ("one", "several"))
    np.testing.assert_allclose(several["shift"], one["shift"], atol=1e-4)
    assert np.abs(one["shift"]).max() > 1e-3


def test_the_time_left_is_estimated_from_how_much_there_is_to_do():
    def weights(*overrides):
        return stage_weights(small_config(*overrides))

    once, twice = weights(), weights("student.steps=8", "corpus.prompts=8")
    assert list(once) == list(twice)
    longer = {name for name in once if twice[name] > once[name]}
    assert longer == {"corpus owl", "corpus control", "students"}
    assert weights("student.epochs=100")["students"] > 100
    assert weights("evaluation.samples=100")["evaluation"] > 10 * once["evaluation"]
    few, many = (
        weights("evaluation.suites=words", f"evaluation.words.samples={samples}")["suite words"]
        for samples in (1, 100)
    )
    assert many > 10 * few


def test_students_without_a_seed_are_refused(workdir):
    with pytest.raises(UserError, match=r"student\.seeds: is empty"):
        run(small_config("student.seeds="), workdir)
