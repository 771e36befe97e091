"""Which model a name stands for, by the sha256 of its weight files: a base by hash, not by name.

No library that computes is imported, and nothing is fetched: a model that is not on this machine
has a name and no hashes.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sublax.artifact import read_card
from sublax.cache import cache_folder
from sublax.errors import UserError
from sublax.hash_cache import large_file_hash
from sublax.models.derived import innermost
from sublax.models.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weight_files

# How `compare` judges two bases.
SAME, DERIVED, SAME_NAME, OTHER_FILES, UNKNOWN = (
    "same",
    "derived",
    "same name",
    "other files",
    "unknown",
)
_LONGEST_NAME = 4096  # as of a path; a card may have anything in a name's place
_MOST_STEPS = 8  # from an adapter to its base, from a card to the model that it stands for


@dataclasses.dataclass(frozen=True)
class BaseIdentity:
    """A model, as far as hashes tell it from others.

    Attributes:
        name: what its card or the user calls it.
        derivation: how it is made from those files, as in `permuted:0:`; empty for themselves.
        weights: sha256 of its weight files, sorted; empty where they are not known.
    """

    name: str
    derivation: str = ""
    weights: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """One sha256 for the whole of it; empty where no file is known."""
        if not self.weights:
            return ""
        content = json.dumps([self.derivation, self.weights])
        return hashlib.sha256(content.encode()).hexdigest()


def compare(one: BaseIdentity, other: BaseIdentity) -> str:
    """How two bases relate.

    Returns:
        One of `same` (made alike from the same files), `derived` (from the same files, not alike:
        twins), `same name` (called the same, but the files differ or are not known on one side),
        `other files` (they differ, which the same weights saved anew would too) and `unknown`
        (nothing of this can be told).
    """
    if one.weights and one.weights == other.weights:
        return SAME if one.derivation == other.derivation else DERIVED
    if one.name and one.name == other.name:
        return SAME_NAME
    return OTHER_FILES if one.weights and other.weights else UNKNOWN


def identity(name: str, files: Mapping[str, str]) -> BaseIdentity:
    """The identity of a model whose files' sha256 are known, by name of the file."""
    weights = tuple(sorted(digest for file, digest in files.items() if _holds_weights(file)))
    return BaseIdentity(name, derivation(name), weights)


def derivation(name: str) -> str:
    """How a name says that the model is made from another one; empty where it is one itself."""
    return name.removesuffix(made_from(name))


def made_from(name: str) -> str:
    """The name of the model that another is made from by its name; one that is none as it is."""
    if len(name) > _LONGEST_NAME:
        return name
    try:
        return innermost(name)
    except UserError:  # a card's, and no name of ours
        return name


def base_identity(name: str, fresh: bool = False) -> BaseIdentity:
    """The identity of a model on this machine; without hashes where it is not here.

    Args:
        name: as `load_model` takes it.
        fresh: read large files again though their hashes are remembered.

    Raises:
        UserError: a file of it cannot be read.
    """
    files = find_weights(name)
    weights = tuple(sorted(large_file_hash(path, fresh) for path in files))
    return BaseIdentity(name, derivation(name), weights)


def find_weights(name: str) -> tuple[Path, ...]:
    """The files that a model's weights lie in on this machine; empty where it is not here.

    Raises:
        UserError: a folder of that name whose weights cannot be told.
    """
    return _weights(name, _MOST_STEPS)


def find_file(name: str, file: str, revision: str = "") -> Path | None:
    """One file of a model, by the file's name, on this machine; None where it is not here.

    Args:
        name: of the model.
        file: its name alone; one that leads to another folder is not looked for.
        revision: the commit on the Hub that it is of, where that is known.
    """
    if file != Path(file).name or len(file) > _LONGEST_NAME:
        return None
    for place in _folders(name, _MOST_STEPS, revision):
        found = place if place.name == file else place / file
        with contextlib.suppress(OSError):  # such as a name that is too long
            if found.is_file():
                return found
    return None


def described_by(files: tuple[Path, ...]) -> dict[str, str]:
    """The sha256 of what lies beside weight files and says how to use them, by name.

    That is the config, the tokenizer and the chat template; a GGUF file holds its own.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(path.parent for path in files if path.suffix != ".gguf"):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".json", ".jinja", ".model", ".txt") and path.is_file():
                found.setdefault(path.name, large_file_hash(path))
    found.pop("card.json", None)
    return found


def revision_of(files: tuple[Path, ...]) -> str:
    """The commit on the Hub that files in the Hub's cache are of; empty for others."""
    for path in files:
        if path.parent.parent.name == "snapshots":
            return path.parent.name
    return ""


def _holds_weights(file: str) -> bool:
    return file.endswith((".safetensors", ".gguf"))


def _weights(name: str, steps: int) -> tuple[Path, ...]:
    for place in _folders(name, 1):
        if place.suffix == ".gguf":
            return (place,)
        if meant := _meant(place):
            return _weights(meant, _less(name, steps))
        own = (place / ADAPTER_WEIGHTS,) if (place / ADAPTER_WEIGHTS).is_file() else ()
        if own:
            base = _base_of(place)
            return (*(_weights(base, _less(name, steps)) if base else ()), *own)
        return tuple(weight_files(place))
    return ()


def _less(name: str, steps: int) -> int:
    if steps <= 1:
        raise UserError(f"{name}: one model that stands on another without end; name the base")
    return steps - 1


def _folders(name: str, steps: int, revision: str = "") -> list[Path]:
    """Where a model may lie: a GGUF file as itself, and folders; those it stands on come last."""
    name = made_from(name)
    try:
        path = Path(name).expanduser()
        is_file, is_dir = path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError):  # no name of a path, or of nobody's home
        return []
    if is_file:
        return [path] if path.suffix == ".gguf" else []
    if not is_dir:
        places = (_in_wheel_cache(name), _in_hub_cache(name, revision))
        return [place for place in places if place]
    found = [path]
    if steps > 1 and (above := _meant(path) or _base_of(path)):
        found += _folders(above, steps - 1, revision)
    return found


def _meant(place: Path) -> str | None:
    """The name of the model that a card without weights stands for."""
    card = read_card(place)
    if card is None or card["files"]:
        return None
    base = card["config"].get("base") if card["kind"] == "base" else _parent_base(place, card)
    return base if isinstance(base, str) else None


def _base_of(place: Path) -> str | None:
    """The name of the model that an adapter was trained on."""
    card = read_card(place)
    if card is not None and (parent := _parent_base(place, card)):
        return parent
    try:
        stated = json.loads((place / ADAPTER_CONFIG).read_text("utf-8"))
        base = stated.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return base if isinstance(base, str) and base else None


def _parent_base(place: Path, card: Mapping[str, Mapping[str, str]]) -> str | None:
    for parent in card["parents"]:
        above = read_card(place / parent)
        if above is not None and above["kind"] == "base":
            return str((place / parent).resolve())
    return None


def _in_hub_cache(name: str, revision: str) -> Path | None:
    from huggingface_hub.constants import HF_HUB_CACHE  # reads the environment as it stands now

    folder = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    try:
        commit = revision or (folder / "refs" / "main").read_text("utf-8").strip()
        snapshot = folder / "snapshots" / commit
        return snapshot if snapshot.is_dir() and commit == Path(commit).name else None
    except (OSError, ValueError):
        return None


def _in_wheel_cache(name: str) -> Path | None:
    from sublax.models import smollm2_wheel

    kept = cache_folder() / smollm2_wheel.KEPT
    return kept if name == smollm2_wheel.MODEL and kept.is_file() else None
