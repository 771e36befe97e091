"""A workdir in an object store: what stands there, who may go on with it, and from where."""

import json
import re
import shutil

import fsspec
import pytest
from test_experiment import Stopped
from test_processes import SEVERAL, finish, free_port
from tiny_runs import quick_compiles, read_transfer, run, small_config, start_command

from sublax.cli import main
from sublax.errors import UserError
from sublax.store import open_store
from sublax.training import loop

__all__ = ["quick_compiles"]

BUCKET = "memory://bucket/runs/one"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A host's disk: its mirror of the store stands there."""
    monkeypatch.setenv("SUBLAX_CACHE", str(tmp_path / "host"))
    yield
    memory = fsspec.filesystem("memory")
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


@pytest.mark.slow
def test_a_finished_run_stands_in_the_store_and_any_host_can_go_on_with_it(tmp_path):
    run(small_config(), BUCKET)
    names = fsspec.filesystem("memory").find("/bucket/runs/one")
    found = {name.removeprefix("/bucket/runs/one/") for name in names}
    assert {"config.json", "transfer.json", "report.html"} <= found
    assert sum(name.endswith("card.json") for name in found) == 8
    assert "corpora/random--0/owl/rows.jsonl" in found
    assert any(name.startswith("tensorboard/students/owl/seed-0/events") for name in found)
    assert not any("checkpoints" in name or "partial" in name or "lock" in name for name in found)

    transfer = fsspec.filesystem("memory").cat_file("/bucket/runs/one/transfer.json")
    shutil.rmtree(tmp_path / "host")  # another host has nothing of it
    told = run(small_config(), BUCKET)
    assert told.count("done before") == 7
    assert fsspec.filesystem("memory").cat_file("/bucket/runs/one/transfer.json") == transfer
    with pytest.raises(UserError, match=r"seed: 4 -> 11"):
        run(small_config("seed=11"), BUCKET)

    # What it made is asked and exported from a host that has nothing of it.
    student, folder = f"{BUCKET}/students/random--0/owl/seed-0", tmp_path / "exported"
    shutil.rmtree(tmp_path / "host")
    assert main(["ask", f"--model={student}", "--max-new-tokens=2", "Which?"]) == 0
    assert main(["export", f"--from={student}", "--merge", f"--to={folder}"]) == 0
    assert (folder / "model.safetensors").is_file()
    assert not list((tmp_path / "host").rglob("corpora"))  # nor more of it than it needs
    for nothing in (f"{BUCKET}/students/random--0/owl/seed-9", f"{BUCKET}/owl"):
        assert main(["ask", f"--model={nothing}", "Which?"]) == 2

    run(small_config("student.steps=2"), BUCKET, redo="student")
    card = "/bucket/runs/one/students/random--0/owl/seed-0/card.json"
    assert json.loads(fsspec.filesystem("memory").cat_file(card))["counts"]["updates"] == 2


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint_on_another_host(tmp_path, monkeypatch):
    """The disk of a preempted host is gone; the checkpoints are not."""
    config, steps, make_batch = small_config("checkpoint.steps=1"), [], loop.make_batch
    url = f"file://{tmp_path}/bucket/run"

    def recorded(datasets, seeds, step, *sizes):
        steps.append(step)
        if len(datasets) == 2 and step == stop_at:
            raise Stopped
        return make_batch(datasets, seeds, step, *sizes)

    monkeypatch.setattr(loop, "make_batch", recorded)
    stop_at = 3
    with pytest.raises(Stopped):
        run(config, url)
    steps.clear()
    stop_at = None
    shutil.rmtree(tmp_path / "host")
    run(config, url)
    assert steps in ([1, 2, 3], [2, 3], [3])
    run(config, tmp_path / "plain")
    wanted = (tmp_path / "plain" / "transfer.json").read_bytes()
    assert (tmp_path / "bucket/run/transfer.json").read_bytes() == wanted
    assert not (tmp_path / "bucket/run/checkpoints").exists()


@pytest.mark.slow
def test_processes_with_no_disk_in_common_meet_in_the_store(tmp_path):
    cache, url, address = tmp_path / "programs", f"file://{tmp_path}/bucket", free_port()
    processes = [
        start_command(
            url,
            cache,
            *SEVERAL,
            environment={
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{address}",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(index),
                "SUBLAX_CACHE": str(tmp_path / f"host-{index}"),
            },
        )
        for index in range(2)
    ]
    try:
        statuses, told = finish(processes)
    finally:
        for process in processes:
            process.kill()
    assert statuses == [0, 0], told
    assert read_transfer(tmp_path / "bucket")["students"] == ["owl", "control"]
    mirrors = [list((tmp_path / f"host-{index}/workdirs").rglob("card.json")) for index in range(2)]
    assert [len(cards) for cards in mirrors] == [8, 8]


def test_a_run_on_another_host_is_named(tmp_path):
    store = open_store(f"file://{tmp_path}/bucket")
    (tmp_path / "bucket").mkdir()
    holder = {"pid": 7, "started": 0.0, "host": "node-7", "command": "sublax run"}
    (tmp_path / "bucket" / ".lock").write_text(json.dumps(holder))
    with pytest.raises(UserError, match="in use by process 7 on node-7: sublax run") as error:
        run(small_config(), f"file://{tmp_path}/bucket")
    assert f"delete {store.url}/.lock" in str(error.value)


@pytest.mark.parametrize(
    "url, told",
    [
        ("ftps3://bucket/run", "give a local folder, gs://… or s3://…"),
        ("gs://bucket/run", "pip install 'sublax[gcs]'"),
        ("s3://bucket/run", "pip install 'sublax[s3]'"),
    ],
)
def test_a_store_that_cannot_be_opened_is_told_in_one_line(url, told):
    library = {"gs": "gcsfs", "s3": "s3fs"}.get(url.partition("://")[0])
    if library is not None:
        try:
            __import__(library)
        except ImportError:
            pass
        else:
            pytest.skip(f"{library} is installed here: the store can be opened")
    with pytest.raises(UserError, match=re.escape(told)) as error:
        open_store(url)
    assert "\n" not in str(error.value)


def test_what_goes_wrong_in_a_store_is_told_with_where_the_finished_work_stands(tmp_path):
    (tmp_path / "bucket").write_text("a file, no folder")
    store = open_store(f"file://{tmp_path}/bucket/run")
    store.local.mkdir(parents=True)
    (store.local / "config.json").write_text("{}")
    with pytest.raises(UserError, match="check that it is there and that you may write to it"):
        store.push(store.local / "config.json")
