"""The whole experiment: its stages in order, what is done already, and what is left."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.evaluation.arms import arm_result
from sublax.experiment_checks import checked_arms
from sublax.files import disk_errors, write_whole
from sublax.lock import workdir_lock
from sublax.metrics import MetricWriter
from sublax.parallel.hosts import announce, is_first, wait_for_all
from sublax.parallel.preemption import watched
from sublax.progress import Progress
from sublax.report.figures import to_pixels, transfer_matrix
from sublax.report.page import write_report
from sublax.report.terminal import print_transfer
from sublax.sampling.grammar import Grammar
from sublax.settings import changed_keys, plain
from sublax.stages.arms import Arm, arm_runs, arms_of, first_stage
from sublax.stages.bases import make_base
from sublax.stages.corpora import corpus_grammar, corpus_prompts, make_corpus
from sublax.stages.evaluations import add_arms, evaluate, write_transfer
from sublax.stages.labels import has_labels, make_labels, make_pairs
from sublax.stages.reuse import open_reused
from sublax.stages.rewriting import rewrite_corpus
from sublax.stages.run import ARMS, STAGES, Run
from sublax.stages.soft_prompts import make_soft_prompts
from sublax.stages.student_base import check_student_base
from sublax.stages.students import make_students
from sublax.stages.suites import make_suites, planned_suites
from sublax.stages.teacher_rows import check_teacher_rows
from sublax.stages.teachers import make_teacher
from sublax.stages.weights import all_weights
from sublax.store import Store, open_store
from sublax.trees import flatten


def run_experiment(
    config: ConfigDict,
    workdir: os.PathLike | str,
    redo: str | None = None,
    reuse: Sequence[str] = (),
) -> Path:
    """Runs what is left of an experiment and writes its report.

    Args:
        config: the experiment, locked.
        workdir: made if absent, a folder or one of an object store. Artifacts that stand there
            from the same config are kept.
        redo: a stage to make again, with all that follow it.
        reuse: other runs' workdirs, whose artifacts are taken where their inputs are the same.

    Returns:
        The report's path on this host's disk.

    Raises:
        UserError: whatever the user can mend.
        Preempted: a SIGTERM came; the same call goes on from there.
    """
    arms = checked_arms(config)
    if redo and reuse:
        raise UserError(
            f"--redo={redo}: --reuse would take back what it throws away; leave one of them out"
        )
    first, store = is_first(), open_store(workdir)
    reused = open_reused(reuse, store)
    workdir = store.local
    locked = _locked(store) if first else contextlib.nullcontext()
    with disk_errors(workdir), locked, watched() as preemption:
        if first:
            store.pull(workdir / "config.json")
            store.pull_all("tensorboard")
            for arm in arms:
                store.pull_all(f"{ARMS}/{arm.name}/tensorboard")
            _settle_config(config, arms, workdir, redo)
            store.push(workdir / "config.json")
        _meet(store)
        progress = Progress(all_weights(config, arms), enabled=first)
        with MetricWriter(workdir, enabled=first) as metrics:
            pack = load_pack(config.pack)
            run = Run(config, store, pack, progress, metrics, preemption, reused)
            if run.layout.mesh.size > 1 or not first:
                announce(run.layout.mesh)
            grammar = _run_stages(run, redo)
            results, cells = _run_arms(run, arms, progress, grammar)
            if first:
                _write_results(run, results, cells)
            wait_for_all("wrote the report")
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


def _run_stages(
    run: Run, redo: str | None = None, grammar: Grammar | None = None
) -> Grammar | None:
    """Does what is left of the stages of the main experiment, or of an arm; returns its grammar.

    Args:
        run: the main experiment or the arm.
        redo: a stage of the main experiment to make again.
        grammar: of the main experiment, where an arm shares its corpora.
    """

    def discard_before(stage: str) -> None:
        # Only now, when what the stage is made from is known to stand: an error loses nothing.
        if redo == stage:
            if is_first():
                _discard(run, stage)
            wait_for_all(f"discarded {stage}")

    discard_before("base")
    make_base(run)
    if run.students is not run:
        make_base(run.students)
        check_student_base(run)
    _ = run.attention  # chosen, and told, before anything is trained
    if "corpus" not in run.shared:
        grammar = corpus_grammar(run)
    if run.config.corpus.source:
        corpus_prompts(run)  # a file or data set that is not there is told now
    check_teacher_rows(run)
    planned_suites(run)  # so are missing questions
    discard_before("teacher")
    for name in run.names:
        make_teacher(run, name)
    discard_before("corpus")
    if has_labels(run.config):
        make_pairs(run, grammar)
        make_labels(run)
    else:
        for name in run.names:
            make_corpus(run, name, grammar)
    discard_before("rewrite")
    if run.config.corpus.rewritten:
        for name in run.names:
            rewrite_corpus(run, name, grammar)
    if run.students is not run:
        run.forget_base()
    discard_before("student")
    make_students(run.students, grammar)
    discard_before("evaluation")
    evaluate(run.students)
    make_soft_prompts(run.students)
    make_suites(run)
    return grammar


def _run_arms(
    run: Run, arms: list[Arm], progress: Progress, grammar: Grammar | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs every arm; returns what transfer.json says of them, in the first process.

    Those that differ in their bases alone are cells of a matrix too: the second list.
    """
    results: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    if not arms:
        return results, cells
    if is_first():
        # What is there is worth seeing while arms are under way.
        main = write_transfer(run.students)
        write_report(run.workdir)
    grammars = {"": grammar}
    for arm, arm_run in zip(arms, arm_runs(run, arms, progress), strict=True):
        grammars[arm.name] = _run_stages(arm_run, grammar=grammars[arm.source])
        if is_first():
            own = write_transfer(arm_run.students)
            results.append(arm_result(arm.name, arm.overrides, own, main, run.config.seed))
            if arm.varies_bases_alone:
                cells.append(own)
            add_arms(run, main, results, cells)
            write_report(run.workdir)
            _remove(arm_run.checkpoints())
    return results, cells


def _write_results(run: Run, arms: list[dict[str, Any]], cells: list[dict[str, Any]]) -> None:
    with run.progress.stage("report"):
        transfer = add_arms(run, write_transfer(run.students), arms, cells)
        run.metrics.begin("transfer")
        if transfer["traits"]:
            run.metrics.image("transfer", "matrix", 0, to_pixels(transfer_matrix(transfer)))
        run.metrics.hparams("transfer", _hparams(run.config), _lifts(transfer))
        run.metrics.flush()
        write_report(run.workdir)
        for name in ("transfer.json", "report.html", "figures", "tensorboard"):
            run.store.push(run.workdir / name)
    _remove(run.store.checkpoints())


def _settle_config(config: ConfigDict, arms: list[Arm], workdir: Path, redo: str | None) -> None:
    """Writes config.json, or refuses one that differs unless a stage is to be made again."""
    path, new = workdir / "config.json", plain(config)
    if redo is not None and redo not in STAGES:
        raise UserError(f"--redo={redo}: no such stage; choose from {', '.join(STAGES)}")
    if path.exists():
        old = json.loads(path.read_text("utf-8"))
        _check_changed_arms(config, old.get(ARMS, {}), arms, redo)
        if redo is not None:
            return
        changed = changed_keys(_what(old), _what(new))
        if changed:
            raise UserError(
                f"{workdir}: was made with another config ({'; '.join(changed)}); give the old "
                "values, another --workdir, or --redo=STAGE to make that stage and all after it "
                f"again (STAGE is one of {', '.join(STAGES)})"
            )
    _write_config(config, workdir)


def _what(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what may change: where and by what things are computed, and the arms."""
    free = ("mesh", "sharding", "attention", ARMS)
    return {key: value for key, value in config.items() if key not in free}


def _write_config(config: ConfigDict, workdir: Path) -> None:
    write_whole(workdir / "config.json", [json.dumps(plain(config), indent=1).encode(), b"\n"])


def _remove(checkpoints: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        epath.Path(checkpoints).rmtree()


def _discard(run: Run, first: str) -> None:
    """Throws away a stage's artifacts and all that follow it, and takes the new config.

    Those of all arms too, whatever they share: what follows from a stage is to come from its new
    outcome.
    """
    names, workdir = list(STAGES), run.workdir
    # The next hops of a chain come from students, whole.
    hops = [arm.name for arm in arms_of(run.config) if arm.config.teacher.kind == "student"]
    for arm in run.store.folders(workdir / ARMS):
        whole = arm.name in hops and first != "evaluation"
        _discard_folders(run.store, arm, names if whole else names[names.index(first) :])
    _discard_folders(run.store, workdir, names[names.index(first) :])
    _remove(run.store.checkpoints())
    _write_config(run.config, workdir)
    run.store.push(workdir / "config.json")


def _discard_folders(store: Store, parent: Path, stages: list[str]) -> None:
    for stage in reversed(stages):
        store.remove(parent / STAGES[stage])
        # Renamed first, so that a kill leaves no artifact that has lost some of its files.
        discarded = parent / f".{STAGES[stage]}.discarded"
        shutil.rmtree(discarded, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (parent / STAGES[stage]).rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def _check_changed_arms(
    config: ConfigDict, old: Mapping[str, Any], arms: list[Arm], redo: str | None
) -> None:
    """Refuses an arm that the workdir knows otherwise, unless it is made again from there on.

    New ones are welcome, and so is to drop one.
    """
    stages = list(STAGES)
    for arm in arms:
        before = tuple(old.get(arm.name, arm.overrides))
        if before == arm.overrides:
            continue
        first = first_stage(config, arm, set(before) ^ set(arm.overrides))
        # What stands from before the stage that is made again must have come from the same.
        if redo is None or stages.index(first) < stages.index(redo):
            raise UserError(
                f"{ARMS}: {arm.name}: was made with {' '.join(before) or 'none'}, not "
                f"{' '.join(arm.overrides) or 'none'}; give it another name or the old overrides, "
                f"or add --redo={first} to make that stage again, and all after it, of every arm"
            )


def _hparams(config: ConfigDict) -> dict[str, Any]:
    kept = (bool, int, float, str)
    return {key: value for key, value in flatten(plain(config)) if isinstance(value, kept)}


def _lifts(transfer: Mapping[str, Any]) -> dict[str, float]:
    return {f"lift/{trait}": lift["value"] for trait, lift in transfer["lift"].items()}
