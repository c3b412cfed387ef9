"""Print the page of a finished run again, from its raw results.

example:
  meshproof report runs/latest"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "report"
HELP = "print the page of a finished run again"


def arguments(own: argparse.ArgumentParser) -> None:
    latest = Path("runs/latest")
    own.add_argument("run", nargs="?", type=Path, default=latest, metavar="RUN", help=f"default: {latest}")


def execute(options: argparse.Namespace) -> int:
    from meshproof.report import load
    from meshproof.report.console import print_page
    from meshproof.report.view import view

    print_page(view(load(options.run)), options.run, sys.stdout)
    return 0
