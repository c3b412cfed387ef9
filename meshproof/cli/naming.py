"""What a person means by a word: a fleet by name or file, a requirement or claim in whatever spelling, a run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from meshproof.cli.exits import Refused
from meshproof.clusters.fleetfile import load, resolve
from meshproof.clusters.places import fleet_directory, state_directory

RUNS = Path("runs")


def known_fleets() -> list[str]:
    """Fleets that have files on this machine, alive or not."""
    fleets = state_directory() / "fleets"
    return sorted(entry.name for entry in fleets.iterdir() if fleet_exists(entry.name)) if fleets.is_dir() else []


def fleet_name(word: str) -> str:
    """The name of a fleet on this machine, else of the fleet file meant. Raises EnvironmentUnfit for neither,
    and Refused for clusters somebody else made.
    """
    if fleet_exists(word):
        return word
    spec = load(resolve(word))
    if spec.lent:
        raise Refused(
            f"the clusters of {word} are somebody else's: they are never brought up or taken down; "
            f"`meshproof doctor {word}` looks at them, `meshproof cleanup --fleet {word}` removes what runs left there"
        )
    return spec.name


def fleet_exists(name: str) -> bool:
    """Whether a fleet has files on this machine, alive or not."""
    try:
        return fleet_directory(name).is_dir()
    except ValueError:  # no name that a fleet can have
        return False


def promise(word: str, known: Collection[str], kind: str = "requirement") -> str:
    """The id that a word means: disc-4, DISC4 and DISC-04[east-west] are DISC-04. Raises Refused with a suggestion."""
    parts = re.fullmatch(r"([A-Z]+)-?(\d+)", word.partition("[")[0].strip().upper())
    spellings = [f"{parts[1]}{dash}{int(parts[2]):02}" for dash in ("-", "")] if parts else []
    for spelling in spellings:
        if spelling in known:
            return spelling
    near = _nearest(word.upper(), parts, known)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `meshproof list`"
    raise Refused(f"there is no {kind} {word!r}; {hint}")


def _nearest(word: str, parts: re.Match[str] | None, known: Collection[str]) -> list[str]:
    """The same number in an area spelled alike, else the last of the area, else what is spelled alike."""
    areas = list(dict.fromkeys(re.sub(r"-?\d+$", "", id) for id in known))
    named = parts[1] if parts else word.rstrip("-")
    for area in difflib.get_close_matches(named, areas, n=1, cutoff=0.5):
        its = [id for id in known if re.sub(r"-?\d+$", "", id) == area]
        same = [id for id in its if parts and int(re.sub(r"\D", "", id)) == int(parts[2])]
        return same or ([its[-1]] if parts else [its[0]])
    return difflib.get_close_matches(word, known, n=3)


def known_defects(words: Collection[str]) -> None:
    """Nothing, when each is a defect of the reference mesh. Raises Refused with the nearest there is."""
    from meshproof.clusters.meshes.reference.defects import every

    known = [defect.name for defect in every()]
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise Refused(f"there is no defect {word!r}; {hint}")


def run_folder(word: str) -> Path:
    """A path as it is; else `latest`, or the name of a run, below `runs`."""
    path = Path(word)
    below = RUNS / word
    return below if not path.exists() and path.name == word and below.exists() else path
