"""Cards for outside data: who says that it was made by what. Claimed, and never verified."""

import datetime
import json
from pathlib import Path
from typing import Any

from sublax.artifact import file_hash, read_card_file
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.lineage.base_files import BaseIdentity, base_identity, derivation, find_weights

KIND = "claim"


def claim_path(data: Path) -> Path:
    """Where the card of a claim stands: beside the file or folder that it speaks of."""
    data = data if data.name else data.absolute()  # "." has a name only where it stands
    return data.parent / f"{data.name}.card.json"


def write_claim(data: Path, claimed_by: str, made_by: str = "", note: str = "") -> Path:
    """Writes the card of a claim.

    Args:
        data: the file or folder that the claim speaks of.
        claimed_by: who says so.
        made_by: the model that is said to have written it, by its name. Where its weights are on
            this machine their sha256 go on the card, so that a base can be compared by hash.
        note: anything else that is said of it.

    Returns:
        The card's path.

    Raises:
        UserError: no such data, nobody who says so, or a claim that stands already.
    """
    if not claimed_by.strip():
        raise UserError("--claimed-by: is empty; say who claims it")
    files = _hashes(data)
    path = claim_path(data)
    if path.exists():
        raise UserError(f"{path}: a claim stands there already; delete it to claim anew")
    config: dict[str, Any] = {"claimed_by": claimed_by, "made_by": made_by, "note": note}
    if made_by and find_weights(made_by):
        config["made_by_weights"] = list(base_identity(made_by).weights)
    card = {
        "kind": KIND,
        "claimed": True,
        "files": files,
        "parents": {},
        "config": config,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_whole(path, [json.dumps(card, indent=1, sort_keys=True).encode()])
    return path


def read_claim(data: Path) -> dict[str, Any] | None:
    """The card of the claim that speaks of some data; None where there is none.

    Raises:
        UserError: what stands there is no claim.
    """
    path = claim_path(data)
    card = read_card_file(path)
    if card is not None and card["kind"] != KIND:
        raise UserError(f"{path}: not the card of a claim; delete it and claim anew")
    return card


def changed_since(data: Path, card: dict[str, Any]) -> list[str]:
    """The names of files that are not as they were when somebody spoke of them."""
    found = _hashes(data)
    return sorted(
        name
        for name in found.keys() | card["files"].keys()
        if found.get(name) != card["files"].get(name)
    )


def maker(card: dict[str, Any]) -> BaseIdentity | None:
    """The model that is claimed to have made the data; None where none is named."""
    name, weights = card["config"].get("made_by"), card["config"].get("made_by_weights", [])
    if not isinstance(name, str) or not name:
        return None
    known = isinstance(weights, list) and all(isinstance(digest, str) for digest in weights)
    return BaseIdentity(name, derivation(name), tuple(sorted(weights)) if known else ())


def _hashes(data: Path) -> dict[str, str]:
    if data.is_file():
        return {data.name: file_hash(data)}
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; check the path")
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): file_hash(path) for path in files}
