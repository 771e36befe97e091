"""Where sublax keeps what it fetched, for later runs without a network."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
    """`$SUBLAX_CACHE`, else `sublax` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if own := os.environ.get("SUBLAX_CACHE"):
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(shared) / "sublax"
