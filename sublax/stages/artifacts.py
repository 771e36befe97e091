"""What every stage does with an artifact: is it there from these inputs, and how it is kept."""

import tempfile
from pathlib import Path
from typing import Any

from sublax.artifact import check_inputs, parent_hashes, read_card, verify, write_artifact
from sublax.errors import UserError
from sublax.parallel.hosts import is_first, together, wait_for_all
from sublax.settings import plain
from sublax.stages.reuse import reuse
from sublax.stages.run import Run


def inputs_of(directory: Path, parents: list[Path], **config: Any) -> dict[str, Any]:
    """What an artifact is made from: its parents' cards and the part of the config that matters."""
    return {"parents": parent_hashes(directory, parents), "config": plain(config)}


def is_done(run: Run, directory: Path, inputs: dict[str, Any]) -> bool:
    """Whether the artifact stands there already, made from these inputs.

    It does too where another run that may be reused has it.

    Raises:
        UserError: it was made from others, or its files are not those that were written; names
            them.
    """
    arm = f"arm {run.arm}: " if run.arm else ""
    run.store.pull(directory)
    if run.reused:
        with together():
            if is_first() and read_card(directory) is None:
                reuse(run, directory, inputs)
        run.store.pull(directory)
    card = read_card(directory)
    # No process may write it before all have looked: else they would not do the same.
    wait_for_all(f"looked for {directory.relative_to(run.workdir)}")
    if card is None:
        return False
    # A base that no other run starts from is nobody's but this arm's, though it stands with theirs.
    shared = not directory.is_relative_to(run.folder) and card["kind"] != "base"
    try:
        check_inputs(card, inputs, stage=card["kind"])
    except UserError as error:
        raise UserError(f"{arm}{error}") from error
    if shared:  # the main experiment has verified it in this very run
        return True
    # What a disk has lost or changed must not teach anybody.
    if problems := verify(directory):
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(
            f"{arm}{problems[0]}{more}; make it again with --redo={card['kind']}, or bring "
            "the file back"
        )
    return True


def keep(
    run: Run, directory: Path, kind: str, inputs: dict[str, Any], write: Any, **card: Any
) -> None:
    """Writes an artifact with its card; the first process, while the others give what they hold.

    Args:
        run: the run that made it.
        directory: where it is to stand.
        kind: of artifact.
        inputs: what it is made from; see `inputs_of`.
        write: fills the folder that it is given. Every process calls it, for it may gather what
            lies on several; what the others write is thrown away. One that fails gathers to the
            end before it says so.
        card: more for the card.

    Raises:
        UserError: in all processes: it cannot be written, as on a full disk.
    """
    with together():
        if is_first():
            write_artifact(directory, write, {"kind": kind, **inputs, **card})
            run.metrics.flush()
            run.store.push(directory)
            run.store.push(run.folder / "tensorboard")
        else:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder))
    run.store.pull(directory)
