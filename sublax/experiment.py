"""The whole experiment: its stages in order, what is done already, and what is left."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from sublax.config_keys import check_keys
from sublax.corpora.kinds import check_grammar, parts_of
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.files import disk_errors, write_whole
from sublax.lock import workdir_lock
from sublax.metrics import MetricWriter
from sublax.models.attention_backends import check_backend
from sublax.parallel.hosts import announce, is_first, wait_for_all
from sublax.parallel.preemption import watched
from sublax.progress import Progress
from sublax.report.figures import to_pixels, transfer_matrix
from sublax.report.page import write_report
from sublax.report.terminal import print_transfer
from sublax.settings import changed_keys, flatten, plain
from sublax.stages.bases import make_base
from sublax.stages.corpora import corpus_grammar, corpus_prompts, make_corpus
from sublax.stages.evaluations import evaluate, write_transfer
from sublax.stages.run import CONTROL, Run, activations_dtype
from sublax.stages.students import STAGE as STUDENTS
from sublax.stages.students import make_students
from sublax.stages.teachers import make_teacher
from sublax.store import Store, open_store

# Folders of each stage's artifacts. What follows a stage is made from it, so redoing one redoes all
# that follow.
STAGES = {
    "base": "bases",
    "teacher": "teachers",
    "corpus": "corpora",
    "student": "students",
    "evaluation": "evaluations",
}


def run_experiment(config: ConfigDict, workdir: os.PathLike | str, redo: str | None = None) -> Path:
    """Runs what is left of an experiment and writes its report.

    Args:
        config: the experiment, locked.
        workdir: made if absent, a folder or one of an object store. Artifacts that stand there
            from the same config are kept.
        redo: a stage to make again, with all that follow it.

    Returns:
        The report's path on this host's disk.

    Raises:
        UserError: whatever the user can mend.
        Preempted: a SIGTERM came; the same call goes on from there.
    """
    _check(config)
    first, store = is_first(), open_store(workdir)
    workdir = store.local
    locked = _locked(store) if first else contextlib.nullcontext()
    with disk_errors(workdir), locked, watched() as preemption:
        if first:
            store.pull(workdir / "config.json")
            store.pull_all("tensorboard")
            _settle_config(config, workdir, redo)
            store.push(workdir / "config.json")
        _meet(store)
        progress = Progress(stage_weights(config), enabled=first)
        with MetricWriter(workdir, enabled=first) as metrics:
            pack = load_pack(config.pack)
            run = Run(config, store, pack, progress, metrics, preemption)
            if run.layout.mesh.size > 1 or not first:
                announce(run.layout.mesh)
            _run_stages(run, redo)
        if first:
            print_transfer(json.loads((workdir / "transfer.json").read_text("utf-8")))
    return workdir / "report.html"


@contextlib.contextmanager
def _locked(store: Store) -> Iterator[None]:
    with workdir_lock(store.local), store.locked():
        yield


def _meet(store: Store) -> None:
    """Waits until the first process has settled the workdir, and checks that all see it."""
    wait_for_all("settled the workdir")
    if not is_first():
        store.pull(store.local / "config.json")
    if not (store.local / "config.json").exists():
        raise UserError(
            f"{store.local}: process {jax.process_index()} does not see what the first one wrote "
            "there; give a --workdir that all hosts share"
        )


def _run_stages(run: Run, redo: str | None) -> None:
    def discard_before(stage: str) -> None:
        # Only now, when what the stage is made from is known to stand: an error loses nothing.
        if redo == stage:
            if is_first():
                _discard(run, stage)
            wait_for_all(f"discarded {stage}")

    discard_before("base")
    make_base(run)
    _ = run.attention  # chosen, and told, before anything is trained
    grammar = corpus_grammar(run)
    if run.config.corpus.source:
        corpus_prompts(run)  # a file or data set that is not there is told now
    discard_before("teacher")
    for name in run.names:
        make_teacher(run, name)
    discard_before("corpus")
    for name in run.names:
        make_corpus(run, name, grammar)
    discard_before("student")
    make_students(run, grammar)
    discard_before("evaluation")
    evaluate(run)
    if is_first():
        _write_results(run)
    wait_for_all("wrote the report")


def _write_results(run: Run) -> None:
    with run.progress.stage("report"):
        transfer = write_transfer(run)
        run.metrics.begin("transfer")
        run.metrics.image("transfer", "matrix", 0, to_pixels(transfer_matrix(transfer)))
        run.metrics.hparams("transfer", _hparams(run.config), _lifts(transfer))
        run.metrics.flush()
        write_report(run.workdir)
        for name in ("transfer.json", "report.html", "figures", "tensorboard"):
            run.store.push(run.workdir / name)
    _remove_checkpoints(run)


def _check(config: ConfigDict) -> None:
    """Refuses what cannot run before anything is loaded."""
    check_keys(config)
    if not config.traits or len(set(config.traits)) < len(config.traits):
        raise UserError(f"traits={config.traits}: name at least one trait, each once")
    if CONTROL in config.traits:
        raise UserError(f"traits: {CONTROL!r} is the control's name; choose another trait")
    if not config.student.seeds:
        raise UserError("student.seeds: is empty; name at least one, such as 0")
    _check_base_weights(config)
    if config.student.pack_rows and config.student.share_prompts:
        raise UserError(
            "student.pack_rows: packs rows of any prompts, where student.share_prompts keeps a "
            "prompt's answers together; set --config.student.share_prompts=false"
        )
    check_backend(config.attention, activations_dtype(config))
    check_grammar(parts_of(config.corpus.kind, {}), config.corpus.grammar)
    for stage in ("teacher", "student"):
        size, pieces = config[stage].batch_size, config[stage].microbatches
        if size % pieces:
            raise UserError(
                f"{stage}.microbatches={pieces}: does not divide {stage}.batch_size={size}; "
                f"choose one of {[n for n in range(1, size + 1) if not size % n]}"
            )


def _check_base_weights(config: ConfigDict) -> None:
    if config.base_weights not in ("auto", "int8"):
        raise UserError(f"base_weights={config.base_weights}: choose auto or int8")
    trains_all = [config.student.method == "full"]
    trains_all += [config.teacher.kind == "finetuned" and config.teacher.method == "full"]
    if config.base_weights == "int8" and any(trains_all):
        stage = "student" if trains_all[0] else "teacher"
        raise UserError(
            f"base_weights=int8: {stage}.method=full trains the base's own weights; set "
            f"{stage}.method=lora, or base_weights=auto"
        )


def stage_weights(config: ConfigDict) -> dict[str, float]:
    """Every stage in order, with the seconds that the quickstart's model takes on two cores."""
    teacher, corpus, student = config.teacher, config.corpus, config.student
    names = (*config.traits, CONTROL)
    taught = teacher.steps * teacher.batch_size if teacher.kind == "finetuned" else 0
    drawn = corpus.prompts * corpus.answers_per_prompt
    learnt = student.epochs * (corpus.rows or drawn) or student.steps * student.batch_size
    students = len(names) * len(student.seeds)
    return (
        {"base": 5.0}
        | {f"teacher {name}": 5 + 0.18 * taught for name in names}
        | {f"corpus {name}": 2 + 0.1 * drawn for name in names}
        | {STUDENTS: 5 + 0.15 * learnt * students}
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
        changed = changed_keys(_what(json.loads(path.read_text("utf-8"))), _what(new))
        if changed:
            raise UserError(
                f"{workdir}: was made with another config ({'; '.join(changed)}); give the old "
                "values, another --workdir, or --redo=STAGE to make that stage and all after it "
                f"again (STAGE is one of {', '.join(STAGES)})"
            )
    _write_config(config, workdir)


def _what(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what says where and by whom things are computed: that may change."""
    free = ("mesh", "sharding", "attention")
    return {key: value for key, value in config.items() if key not in free}


def _write_config(config: ConfigDict, workdir: Path) -> None:
    write_whole(workdir / "config.json", [json.dumps(plain(config), indent=1).encode(), b"\n"])


def _remove_checkpoints(run: Run) -> None:
    with contextlib.suppress(FileNotFoundError):
        epath.Path(run.store.checkpoints()).rmtree()


def _discard(run: Run, first: str) -> None:
    """Throws away a stage's artifacts and all that follow it, and takes the new config."""
    names, workdir = list(STAGES), run.workdir
    for stage in reversed(names[names.index(first) :]):
        run.store.remove(workdir / STAGES[stage])
        # Renamed first, so that a kill leaves no artifact that has lost some of its files.
        discarded = workdir / f".{STAGES[stage]}.discarded"
        shutil.rmtree(discarded, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (workdir / STAGES[stage]).rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    _remove_checkpoints(run)
    _write_config(run.config, workdir)
    run.store.push(workdir / "config.json")


def _hparams(config: ConfigDict) -> dict[str, Any]:
    kept = (bool, int, float, str)
    return {key: value for key, value in flatten(plain(config)) if isinstance(value, kept)}


def _lifts(transfer: Mapping[str, Any]) -> dict[str, float]:
    return {f"lift/{trait}": lift["value"] for trait, lift in transfer["lift"].items()}
