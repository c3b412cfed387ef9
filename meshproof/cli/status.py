"""Say which fleets there are on this machine and how they are, without touching them.

phases: absent, starting, ready, failed, dead (its processes are gone, its files are not: `meshproof down` removes them)
exit codes: 0; 10 when a fleet was named and is not ready"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from meshproof.cli.exits import Exit
from meshproof.cli.output import add_output_option, print_json, print_table

if TYPE_CHECKING:
    from meshproof.clusters.fleet import FleetStatus

NAME = "status"
HELP = "which fleets there are, and how they are"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("fleet", nargs="?", metavar="FLEET", help="only this one: its name or its file")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import fleet_name, known_fleets
    from meshproof.clusters.providers import provider_for

    names = [fleet_name(options.fleet)] if options.fleet else known_fleets()
    found = [provider_for(name).status(name) for name in names]
    if options.output == "json":
        print_json({"fleets": [{**asdict(status), "timings": dict(status.timings)} for status in found]})
    elif found:
        print_table(("FLEET", "PHASE", "DETAIL"), [(status.name, status.phase, _detail(status)) for status in found])
    else:
        print("there is no fleet on this machine")
    ready = all(status.phase == "ready" for status in found)
    return Exit.UNFIT if options.fleet and not ready else Exit.OK


def _detail(status: FleetStatus) -> str:
    seconds = max(status.timings.values(), default=None)
    if status.phase == "ready" and seconds is not None:
        return f"{status.detail} (ready after {seconds:.1f} s)".strip()
    return status.detail
