"""Which fleet a person means by a word that may be a name or a file, also when the file is gone or broken."""

from __future__ import annotations

from meshproof.clusters.fleetfile import load, resolve
from meshproof.clusters.places import fleet_directory, state_directory


def known_fleets() -> list[str]:
    """Fleets that have files on this machine, alive or not."""
    fleets = state_directory() / "fleets"
    return sorted(entry.name for entry in fleets.iterdir() if _exists(entry.name)) if fleets.is_dir() else []


def fleet_name(word: str) -> str:
    """The name of a fleet on this machine, else of the fleet file meant. Raises EnvironmentUnfit for neither."""
    return word if _exists(word) else load(resolve(word)).name


def _exists(name: str) -> bool:
    try:
        return fleet_directory(name).is_dir()
    except ValueError:  # no name that a fleet can have
        return False
