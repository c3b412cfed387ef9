"""Look at this machine and say what an embedded fleet would miss. Makes nothing, installs nothing.

exit codes: 0 when a fleet could come up, 10 when not."""

from __future__ import annotations

import argparse

from meshproof.cli.output import add_output_option

NAME = "doctor"
HELP = "can this machine carry an embedded fleet?"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("fleet", nargs="?", default="two", metavar="FLEET", help="fleet to check for (default: two)")
    add_output_option(own)


def execute(options: argparse.Namespace) -> int:
    from meshproof import doctor

    return doctor.examine(options.fleet, as_json=options.output == "json")
