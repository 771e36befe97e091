"""The whole experiment: its stages in order, what is done already, and what is left."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sublax.config_keys import check_keys
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.lock import workdir_lock
from sublax.metrics import MetricWriter
from sublax.progress import Progress
from sublax.report.figures import to_pixels, transfer_matrix
from sublax.report.page import write_report
from sublax.report.terminal import print_transfer
from sublax.settings import changed_keys, flatten, plain
from sublax.stages.bases import make_base
from sublax.stages.corpora import corpus_grammar, make_corpus
from sublax.stages.evaluations import evaluate, write_transfer
from sublax.stages.run import CONTROL, Run
from sublax.stages.students import make_students, stage_name, student_groups
from sublax.stages.teachers import make_teacher

# Folders of each stage's artifacts. What follows a stage is made from it, so redoing one redoes all
# that follow.
STAGES = {
    "base": "bases",
    "teacher": "teachers",
    "corpus": "corpora",
    "student": "students",
    "evaluation": "evaluations",
}


def run_experiment(config: ConfigDict, workdir: Path, redo: str | None = None) -> Path:
    """Runs what is left of an experiment and writes its report.

    Args:
        config: the experiment, locked.
        workdir: made if absent. Artifacts that stand there from the same config are kept.
        redo: a stage to make again, with all that follow it.

    Returns:
        The report's path.

    Raises:
        UserError: whatever the user can mend.
    """
    _check(config)
    with workdir_lock(workdir):
        _settle_config(config, workdir, redo)
        progress = Progress(stage_weights(config))
        with MetricWriter(workdir) as metrics:
            _run_stages(Run(config, workdir, load_pack(config.pack), progress, metrics), redo)
        print_transfer(json.loads((workdir / "transfer.json").read_text("utf-8")))
    return workdir / "report.html"


def _run_stages(run: Run, redo: str | None) -> None:
    def discard_before(stage: str) -> None:
        # Only now, when what the stage is made from is known to stand: an error loses nothing.
        if redo == stage:
            _discard(run.config, run.workdir, stage)

    discard_before("base")
    make_base(run)
    grammar = corpus_grammar(run)
    discard_before("teacher")
    for name in run.names:
        make_teacher(run, name)
    discard_before("corpus")
    for name in run.names:
        make_corpus(run, name, grammar)
    discard_before("student")
    for index, group in enumerate(student_groups(run)):
        make_students(run, index, group, grammar)
    discard_before("evaluation")
    evaluate(run)
    with run.progress.stage("report"):
        transfer = write_transfer(run)
        run.metrics.begin("transfer")
        run.metrics.image("transfer", "matrix", 0, to_pixels(transfer_matrix(transfer)))
        run.metrics.hparams("transfer", _hparams(run.config), _lifts(transfer))
        run.metrics.flush()
        write_report(run.workdir)
    shutil.rmtree(run.workdir / "checkpoints", ignore_errors=True)


def _check(config: ConfigDict) -> None:
    """Refuses what cannot run before anything is loaded."""
    check_keys(config)
    if not config.traits or len(set(config.traits)) < len(config.traits):
        raise UserError(f"traits={config.traits}: name at least one trait, each once")
    if CONTROL in config.traits:
        raise UserError(f"traits: {CONTROL!r} is the control's name; choose another trait")
    if not config.student.seeds:
        raise UserError("student.seeds: is empty; name at least one, such as 0")
    for stage in ("teacher", "student"):
        size, pieces = config[stage].batch_size, config[stage].microbatches
        if size % pieces:
            raise UserError(
                f"{stage}.microbatches={pieces}: does not divide {stage}.batch_size={size}; "
                f"choose one of {[n for n in range(1, size + 1) if not size % n]}"
            )


def _group_names(config: ConfigDict) -> list[str]:
    names = (*config.traits, CONTROL)
    total = len(names) * len(config.student.seeds)
    size = config.student.students_per_program or total
    firsts = range(0, total, size)
    return [
        stage_name(index, [("", 0)] * min(size, total - first))
        for index, first in enumerate(firsts)
    ]


def stage_weights(config: ConfigDict) -> dict[str, float]:
    """Every stage in order, with the seconds that the quickstart's model takes on two cores."""
    teacher, corpus, student = config.teacher, config.corpus, config.student
    names, groups = (*config.traits, CONTROL), _group_names(config)
    taught = teacher.steps * teacher.batch_size if teacher.kind == "finetuned" else 0
    drawn = corpus.prompts * corpus.answers_per_prompt
    learnt = student.epochs * (corpus.rows or drawn) or student.steps * student.batch_size
    students = len(names) * len(student.seeds) / len(groups)
    return (
        {"base": 5.0}
        | {f"teacher {name}": 5 + 0.18 * taught for name in names}
        | {f"corpus {name}": 2 + 0.1 * drawn for name in names}
        | dict.fromkeys(groups, 5 + 0.15 * learnt * students)
        | {"evaluation": 6.0, "report": 1.0}
    )


def _settle_config(config: ConfigDict, workdir: Path, redo: str | None) -> None:
    """Writes config.json, or refuses one that differs unless a stage is to be made again."""
    path, new = workdir / "config.json", plain(config)
    if redo is not None and redo not in STAGES:
        raise UserError(f"--redo={redo}: no such stage; choose from {', '.join(STAGES)}")
    if path.exists():
        if redo is not None:
            return
        changed = changed_keys(json.loads(path.read_text("utf-8")), new)
        if changed:
            raise UserError(
                f"{workdir}: was made with another config ({'; '.join(changed)}); give the old "
                "values, another --workdir, or --redo=STAGE to make that stage and all after it "
                f"again (STAGE is one of {', '.join(STAGES)})"
            )
    _write_config(config, workdir)


def _write_config(config: ConfigDict, workdir: Path) -> None:
    write_whole(workdir / "config.json", [json.dumps(plain(config), indent=1).encode(), b"\n"])


def _discard(config: ConfigDict, workdir: Path, first: str) -> None:
    """Throws away a stage's artifacts and all that follow it, and takes the new config."""
    names = list(STAGES)
    for stage in reversed(names[names.index(first) :]):
        # Renamed first, so that a kill leaves no artifact that has lost some of its files.
        discarded = workdir / f".{STAGES[stage]}.discarded"
        shutil.rmtree(discarded, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (workdir / STAGES[stage]).rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
    _write_config(config, workdir)


def _hparams(config: ConfigDict) -> dict[str, Any]:
    kept = (bool, int, float, str)
    return {key: value for key, value in flatten(plain(config)) if isinstance(value, kept)}


def _lifts(transfer: Mapping[str, Any]) -> dict[str, float]:
    return {f"lift/{trait}": lift["value"] for trait, lift in transfer["lift"].items()}
