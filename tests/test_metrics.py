"""Metrics are read back by TensorBoard itself, also after a kill and a resume."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sublax.metrics import MetricWriter

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

RUN = "students/smollm2/owl/seed-0"


def events_of(workdir, run=RUN):
    """What TensorBoard shows of a run."""
    found = event_accumulator.EventAccumulator(
        str(workdir / "tensorboard" / run), size_guidance={"scalars": 0, "images": 0}
    )
    return found.Reload()


def curve(workdir, name="loss"):
    return [(event.step, event.value) for event in events_of(workdir).Scalars(name)]


def lines_of(workdir, run=RUN):
    path = workdir / "tensorboard" / run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_tensorboard_reads_what_was_written(tmp_path):
    matrix_HxWx3 = np.zeros((4, 6, 3), np.uint8)
    with MetricWriter(tmp_path) as writer:
        writer.begin(RUN)
        writer.hparams(RUN, {"learning_rate": 0.001, "loss": "kl"}, {"lift": 0.5})
        writer.scalars(RUN, 1, {"loss": 2.0, "tokens_per_second": 310})
        writer.scalars(RUN, 2, {"loss": 1.5})
        writer.text(RUN, "sample", 2, "217, 384\u2028<b>owl</b>")
        writer.image(RUN, "matrix", 2, matrix_HxWx3)
    assert curve(tmp_path) == [(1, 2.0), (2, 1.5)]
    events = events_of(tmp_path)
    assert [(image.width, image.height) for image in events.Images("matrix")] == [(6, 4)]
    tags = events.Tags()["tensors"]
    assert any(tag.startswith("sample") for tag in tags)
    assert "_hparams_/experiment" in events.summary_metadata
    scalars = [line["scalars"] for line in lines_of(tmp_path) if "scalars" in line]
    assert scalars == [{"loss": 2.0, "tokens_per_second": 310}, {"loss": 1.5}]


def test_steps_written_again_after_a_kill_count_once(tmp_path):
    killed = MetricWriter(tmp_path)
    killed.begin(RUN)
    for step in range(6):
        killed.scalars(RUN, step, {"loss": 10.0 - step})
    killed.flush()
    path = tmp_path / "tensorboard" / RUN / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 6, "scal')

    with MetricWriter(tmp_path) as resumed:
        resumed.begin(RUN, step=4)
        for step in range(4, 8):
            resumed.scalars(RUN, step, {"loss": 1.0})

    expected = [(0, 10.0), (1, 9.0), (2, 8.0), (3, 7.0), (4, 1.0), (5, 1.0), (6, 1.0), (7, 1.0)]
    assert curve(tmp_path) == expected
    assert [(line["step"], line["scalars"]["loss"]) for line in lines_of(tmp_path)] == expected


def test_without_begin_nothing_is_purged_and_a_torn_line_is_mended(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.scalars(RUN, 5, {"loss": 1.0})
    with (tmp_path / "tensorboard" / RUN / "metrics.jsonl").open("a") as file:
        file.write('{"step"')
    with MetricWriter(tmp_path) as writer:
        writer.scalars(RUN, 0, {"held_out": 2.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [5, 0]
    assert curve(tmp_path) == [(5, 1.0)] and curve(tmp_path, "held_out") == [(0, 2.0)]


def test_a_loss_that_is_not_a_number_stays_valid_json(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.scalars(RUN, 0, {"loss": float("nan"), "norm": np.float32(2.0)})
    assert lines_of(tmp_path)[0]["scalars"] == {"loss": None, "norm": 2.0}


def test_other_hosts_write_nothing(tmp_path):
    with MetricWriter(tmp_path, enabled=False) as writer:
        writer.begin(RUN)
        writer.scalars(RUN, 0, {"loss": 1.0})
        writer.text(RUN, "sample", 0, "1")
        writer.image(RUN, "matrix", 0, np.zeros((1, 1, 3), np.uint8))
        writer.hparams(RUN, {"a": 1}, {"b": 2.0})
    assert list(tmp_path.iterdir()) == []


def test_writing_metrics_imports_neither_tensorflow_nor_jax():
    code = (
        "import sys, sublax.metrics;"
        "print([name for name in ('tensorflow', 'jax') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "[]", printed.stderr
