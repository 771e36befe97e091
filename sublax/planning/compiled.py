"""What the compiler makes of a program: its text and its memory; kept, so that it is asked once."""

import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import pathlib
import re
from typing import Any

import jax

from sublax.errors import UserError
from sublax.files import write_whole
from sublax.parallel import memory

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program for each of its devices.

    Attributes:
        text: the optimized program; None where the compiler gave up since a device cannot hold it.
        scratch: bytes beside its arguments and results.
        total: bytes while it runs, arguments among them; None where the compiler gave up.
    """

    text: str | None
    scratch: int
    total: int | None


def compiled(
    lowered: jax.stages.Lowered, devices: list[Any], keep: pathlib.Path | None = None
) -> Compiled:
    """Compiles a program, or reads what was kept of it.

    Args:
        lowered: the program.
        devices: that it is for.
        keep: a folder that has, or gets, what the compiler said; None keeps nothing.

    Raises:
        UserError: a compiler whose programs this jax cannot read, or a folder that cannot be
            written.
    """
    if keep is None:
        return _compile(lowered)
    versions = [jax.__version__, *_libtpu()]
    of_what = "\n".join([lowered.as_text(), devices[0].device_kind, repr(devices), *versions])
    path = keep / f"{hashlib.sha256(of_what.encode()).hexdigest()}.json.gz"
    if path.exists():
        return Compiled(**json.loads(gzip.decompress(path.read_bytes())))
    made = _compile(lowered)
    write_whole(path, [gzip.compress(json.dumps(dataclasses.asdict(made)).encode())])
    return made


def _compile(lowered: jax.stages.Lowered) -> Compiled:
    try:
        done = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        told = re.search(r"RESOURCE_EXHAUSTED.*?\(([\d.]+)([KMG])\) exceeds", str(error), re.DOTALL)
        if told is None:
            raise
        return Compiled(None, int(float(told[1]) * UNITS[told[2]]), None)
    try:
        text = done.as_text() or ""
    except jax.errors.JaxRuntimeError as error:
        # A libtpu that is newer than jax may name operations that jax does not know.
        raise UserError(
            "the compiled program cannot be read by this jax; install the libtpu that goes with "
            f"it: pip install 'sublax[plan]' ({str(error).splitlines()[0]})"
        ) from error
    analysis: Any = done.memory_analysis()
    return Compiled(text, analysis.temp_size_in_bytes, memory.program_bytes(done))


def _libtpu() -> list[str]:
    try:
        return [importlib.metadata.version("libtpu")]
    except importlib.metadata.PackageNotFoundError:
        return []
