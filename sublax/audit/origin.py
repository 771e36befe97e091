"""Where a dataset comes from, as far as cards say: of a file its lineage, of a name nothing."""

from pathlib import Path

from sublax.lineage.base_files import SAME, base_identity
from sublax.lineage.origin import CLAIMED, KNOWN, NO_ORIGIN, origin


def origin_of(name: str, base: str) -> tuple[str, str, str | None]:
    """(`known`, `claimed`, `unknown` or `broken`, one line that says from what, same base).

    The last is the first again where the lineage says, by the sha256 of their files, that the
    rows' writer is of the very base that is asked about, and that is known or claimed; else None.

    Args:
        name: of the dataset, as the user gave it.
        base: of the model that is to be trained.
    """
    path = Path(name)
    if not path.is_file():
        return (
            NO_ORIGIN,
            f"origin: {NO_ORIGIN} ({name}: no local file that a card could cover)",
            None,
        )
    found = origin(path)
    certain = found.state in (KNOWN, CLAIMED)
    same = certain and found.same_base(base_identity(base)) == SAME
    return found.state, found.summary, found.state if same else None
