"""Where a dataset comes from, as far as cards say: of a file its lineage, of a name nothing."""

from pathlib import Path

from sublax.lineage.origin import NO_ORIGIN, origin


def origin_of(name: str) -> tuple[str, str]:
    """(`known`, `claimed`, `unknown` or `broken`, one line that says from what).

    Args:
        name: of the dataset, as the user gave it.
    """
    path = Path(name)
    if not path.is_file():
        return NO_ORIGIN, f"origin: {NO_ORIGIN} ({name}: no local file that a card could cover)"
    found = origin(path)
    return found.state, found.summary
