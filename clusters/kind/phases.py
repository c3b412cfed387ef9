"""Named phases in a fixed order, each with a deadline and a time taken: a bring-up can be stopped and taken up again.

What was done and how long it took is written after each phase; a bring-up that dies leaves the name of the phase it was
in. Phases may be done again: each removes or finds what an earlier attempt of its own left.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from meshproof.clusters.fleet import EnvironmentUnfit, Progress

STATUS = "status.json"


@dataclass(frozen=True, slots=True)
class Phase:
    """`run` is given its deadline, as time.monotonic() counts, and raises when it cannot be kept."""

    name: str
    seconds_max: float
    run: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Journal:
    """How far a bring-up came. `state`: starting, waiting (stopped after a phase, as asked), ready or failed."""

    state: str = "starting"
    phase: str = ""
    detail: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Phase -> how long it took."""

    def timings(self) -> dict[str, float]:
        """Phase -> seconds from the beginning to its end."""
        ends, total = {}, 0.0
        for name, seconds in self.seconds.items():
            ends[name] = total = total + seconds
        return ends


def read(directory: Path) -> Journal | None:
    """What `directory` says; None when it says nothing that can be read."""
    try:
        return Journal(**json.loads((directory / STATUS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write(directory: Path, journal: Journal) -> None:
    """Atomically, readable by its owner alone."""
    fresh = directory / f"{STATUS}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(journal), file, indent=1)
    fresh.rename(directory / STATUS)


def chosen(phases: Sequence[Phase], first: str, last: str) -> Sequence[Phase]:
    """From `first` to `last`, both included; empty means the ends. Raises EnvironmentUnfit for a name there is not."""
    names = [phase.name for phase in phases]
    for name in filter(None, (first, last)):
        if name not in names:
            raise EnvironmentUnfit(f"there is no phase {name!r}; phases are {', '.join(names)}")
    begin = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    if begin > end:
        raise EnvironmentUnfit(f"phase {first} comes after phase {last}; phases are {', '.join(names)}")
    return phases[begin : end + 1]


def carry_out(phases: Sequence[Phase], directory: Path, progress: Progress, *, whole: bool) -> Journal:
    """Run them one after the other; `whole`: whether the fleet is ready after the last of them.

    What a phase raises goes on; the journal then names the phase.
    """
    before = read(directory)
    names = {phase.name for phase in phases}
    seconds = {name: took for name, took in (before.seconds if before else {}).items() if name not in names}
    for phase in phases:
        write(directory, Journal("starting", phase.name, f"in phase {phase.name}", seconds))
        began = time.monotonic()
        try:
            phase.run(began + phase.seconds_max)
        except Exception as error:
            write(directory, Journal("failed", phase.name, f"phase {phase.name}: {_first_line(error)}", seconds))
            raise
        seconds = {**seconds, phase.name: round(time.monotonic() - began, 2)}
        progress(f"  {sum(seconds.values()):5.1f} s  {phase.name} ({seconds[phase.name]:.1f} s)")
    last = phases[-1].name
    journal = Journal("ready" if whole else "waiting", last, "" if whole else f"stopped after phase {last}", seconds)
    write(directory, journal)
    return journal


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
