"""Print the page of a finished run again, from its raw results.

RUN is the folder of a run, or `latest`, which is meant when it is left out.

example:
  meshproof report runs/latest"""

from __future__ import annotations

import argparse
import sys

NAME = "report"
HELP = "print the page of a finished run again"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument("run", nargs="?", default="latest", metavar="RUN", help="what to print (default: latest)")


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import run_folder
    from meshproof.report import load
    from meshproof.report.console import print_page
    from meshproof.report.view import view

    folder = run_folder(options.run)
    print_page(view(load(folder)), folder, sys.stdout)
    return 0
