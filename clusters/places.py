"""Where meshproof keeps its files: fleets under the state directory, downloads and builds under the cache directory.

Both follow the XDG rules and one variable of our own each. Functions only name a place: they neither create nor
read it, so whoever writes there makes it, with the mode its contents need.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_FLEET_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def state_directory() -> Path:
    """Fleets and their keys: $MESHPROOF_STATE, else $XDG_STATE_HOME/meshproof, else ~/.local/state/meshproof."""
    return _place("MESHPROOF_STATE", "XDG_STATE_HOME", Path(".local") / "state")


def cache_directory() -> Path:
    """What can be made again: $MESHPROOF_CACHE, else $XDG_CACHE_HOME/meshproof, else ~/.cache/meshproof."""
    return _place("MESHPROOF_CACHE", "XDG_CACHE_HOME", Path(".cache"))


def fleet_directory(name: str) -> Path:
    """The directory of the fleet `name`: state directory/fleets/<name>.

    Raises ValueError for a name that is not a short DNS label, because the name becomes a path component.
    """
    if not _FLEET_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no fleet name: use up to 40 lower-case letters, digits and inner dashes")
    return state_directory() / "fleets" / name


def _place(own: str, xdg: str, below_home: Path) -> Path:
    """The XDG rules: an empty variable counts as unset, and a relative XDG path is ignored."""
    if chosen := os.environ.get(own):
        return Path(chosen).resolve()
    shared = Path(os.environ.get(xdg, ""))
    root = shared if shared.is_absolute() else Path.home() / below_home
    return root / "meshproof"
