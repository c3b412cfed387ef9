"""Switch each known defect of the reference mesh on and see whether the suite notices: green, red, green again.

exit codes: 0 all that were tried were noticed, 1 one was missed or raised a false alarm, 11 could not tell, 10 unfit
examples:
  meshproof prove
  meshproof prove --fleet three --defect shared_ignored --seed 7
  meshproof prove --rotate "$(git rev-parse HEAD)"     one defect of each class: other ones for the next commit"""

from __future__ import annotations

import argparse
from pathlib import Path

from meshproof.cli.output import tell

NAME = "prove"
FLEETS = ("two", "three", "news")
HELP = "does the suite notice the defects it should?"


def arguments(own: argparse.ArgumentParser) -> None:
    from meshproof.cli.run import seed

    own.add_argument(
        "--fleet",
        action="append",
        metavar="FLEET",
        help="a fleet file or a built-in fleet; given several times, each defect is tried on the first that offers its "
        f"requirement (default: {', '.join(FLEETS)})",
    )
    own.add_argument("--defect", nargs="+", action="extend", default=[], metavar="NAME", help="default: all")
    own.add_argument("--rotate", default="", metavar="TEXT", help="one defect of each class, drawn by TEXT")
    own.add_argument("--seed", type=seed, metavar="N", help="chooses the pair (default: drawn, and printed)")
    own.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where to (default: runs)")


def execute(options: argparse.Namespace) -> int:
    import random

    from meshproof.cli.naming import known_defects
    from meshproof.clusters.fleetfile import load, resolve
    from meshproof.prove import prove

    known_defects(options.defect)

    drawn = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    specs = [load(resolve(name)) for name in options.fleet or FLEETS]
    return prove(specs, options.defect, drawn, options.runs_dir, tell, options.rotate)
