"""Parts of a long measurement, each kept as JSON, so that one that was stopped goes on."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sublax.progress import Progress


def kept(folder: Path, progress: Progress, part: str, make: Callable[[], Any]) -> Any:
    """A part as it stands in the folder, or made now.

    Args:
        folder: where parts are.
        progress: tells of the part, which is one of its stages.
        part: its name.
        make: returns what JSON can hold.
    """
    path = folder / f"{part.replace(' ', '_')}.json"
    if path.exists():
        progress.skip(part)
    else:
        with progress.stage(part):
            written = path.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps(make()), "utf-8")
            written.replace(path)  # whole or not at all, whoever else makes it
    return json.loads(path.read_text("utf-8"))
