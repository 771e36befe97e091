"""The parts of an audit: each is an artifact with a card, made once and found again later."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from sublax.artifact import parent_hashes, read_card, verify, write_artifact
from sublax.errors import UserError
from sublax.progress import Progress


class Parts:
    """The folder of one audit.

    Args:
        folder: made if absent.
        shared: what all parts come from: the model, the dataset, the seed, as JSON has it.
        progress: tells the person at the terminal.
        label: before the names of its stages there.
    """

    def __init__(
        self, folder: Path, shared: Mapping[str, Any], progress: Progress, label: str = ""
    ) -> None:
        self.folder = folder
        self.progress = progress
        self._shared = dict(shared)
        self._label = label

    def stage_of(self, name: str) -> str:
        """What a stage is called at the terminal."""
        return f"{self._label}{name}"

    def has(self, name: str) -> bool:
        """Whether a part of this name stands there."""
        return read_card(self.folder / name) is not None

    def keep(
        self,
        name: str,
        make: Callable[[], Mapping[str, Any]],
        settings: Mapping[str, Any] | None = None,
        parents: tuple[str, ...] = (),
        afresh: bool = False,
    ) -> dict[str, Any]:
        """The result of a part: what stands there, or else what `make` returns.

        Args:
            name: of the part, its folder and its NAME.json.
            make: computes the result, as JSON has it, but for arrays, which stand beside it in
                a NAME.safetensors.
            settings: what it comes from beside what all share.
            parents: the parts that it comes from.
            afresh: it is made again whatever stands there: it costs nothing, and comes from more
                than its inputs say.

        Raises:
            UserError: it stands there from other inputs, or was changed since.
            ValueError: a number is not finite.
        """
        directory = self.folder / name
        inputs = {
            "parents": parent_hashes(directory, [self.folder / parent for parent in parents]),
            "config": json.loads(json.dumps({**self._shared, **(settings or {})})),
        }
        card = None if afresh else read_card(directory)
        if card is not None:
            self._check(directory, card, inputs)
            self.progress.skip(self.stage_of(name))
        else:
            with self.progress.stage(self.stage_of(name)):
                started = time.monotonic()
                made = make()
                arrays = {key: it for key, it in made.items() if isinstance(it, np.ndarray)}
                if any(not np.isfinite(array).all() for array in arrays.values()):
                    raise ValueError(f"{directory}: not all numbers are finite")
                plain = {key: it for key, it in made.items() if key not in arrays}
                text = json.dumps(plain, indent=1, allow_nan=False)

                def write(folder: Path) -> None:
                    (folder / f"{name}.json").write_text(f"{text}\n", "utf-8")
                    if arrays:
                        save_file(arrays, folder / f"{name}.safetensors")

                seconds = time.monotonic() - started
                write_artifact(
                    directory, write, {"kind": f"audit-{name}", **inputs, "seconds": seconds}
                )
        found = json.loads((directory / f"{name}.json").read_text("utf-8"))
        beside = directory / f"{name}.safetensors"
        return found | (load_file(beside) if beside.exists() else {})

    def _check(self, directory: Path, card: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        changed = [
            key
            for key in sorted({*card["config"], *inputs["config"]})
            if card["config"].get(key) != inputs["config"].get(key)
        ]
        if card["parents"] != inputs["parents"]:
            changed.append("what it was made from")
        if changed:
            raise UserError(
                f"{directory}: is of an audit with another {', '.join(changed)}; choose another "
                "--output, or delete this folder"
            )
        if problems := verify(directory):
            raise UserError(f"{problems[0]}; delete {directory} and run the same command again")
