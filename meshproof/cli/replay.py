"""Judge a finished run again, from its stored histories alone; needs no fleet and writes nothing.

exit codes: 0 every verdict agrees, 1 one differs, 11 one could not be recomputed, 10 that is no run
RUN is the folder of a run, `latest`, the folder of one case, or a history file; the latest run when it is left out.

examples:
  meshproof replay
  meshproof replay runs/latest/cases/DISC-04[east-west]"""

from __future__ import annotations

import argparse
import sys

NAME = "replay"
HELP = "judge a finished run again, from its histories alone"


def arguments(own: argparse.ArgumentParser) -> None:
    which = own.add_mutually_exclusive_group()
    which.add_argument("run", nargs="?", metavar="RUN", help="what to judge again (default: latest)")
    which.add_argument("--verdicts", metavar="RUN", help="the same, as an option")


def execute(options: argparse.Namespace) -> int:
    from meshproof.cli.naming import run_folder
    from meshproof.replay import replay_verdicts

    return replay_verdicts(run_folder(options.verdicts or options.run or "latest"), sys.stdout)
