"""Take a fleet down and remove everything it left, however it died. Doing it twice is fine.

Without FLEET: the one there is."""

from __future__ import annotations

import argparse

from meshproof.cli.exits import undisturbed
from meshproof.cli.output import tell

NAME = "down"
HELP = "take a fleet down, however it died"


def arguments(own: argparse.ArgumentParser) -> None:
    which = own.add_mutually_exclusive_group()
    which.add_argument("fleet", nargs="?", metavar="FLEET", help="its name or its file")
    which.add_argument("--all", action="store_true", help="every fleet of this state directory")


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import fleet_exists, fleet_name, known_fleets
    from meshproof.clusters.fleet import EnvironmentUnfit
    from meshproof.clusters.providers import provider_for

    known = known_fleets()
    if options.fleet is not None:
        names = [fleet_name(options.fleet)]
    elif options.all or len(known) < 2:
        names = known
    else:
        raise EnvironmentUnfit(f"there are {len(known)} fleets, name one or say --all: {', '.join(known)}")
    there = [name for name in names if fleet_exists(name)]
    for name in names:
        # Cut short, it would leave half a fleet; it has a deadline of its own.
        with undisturbed():
            provider_for(name).down(name, tell)
    if absent := [name for name in names if name not in there]:
        print(f"fleet {', '.join(absent)} was not up; nothing to take down")
    if there:
        print(f"down: {', '.join(there)}")
    if not names:
        print("there is no fleet on this machine")
    return 0
