"""Judge a finished run again, from its stored histories alone; needs no fleet and writes nothing.

exit codes: 0 every verdict agrees, 1 one differs, 11 one could not be recomputed, 10 that is no run
example:
  meshproof replay --verdicts runs/latest"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "replay"
HELP = "judge a finished run again, from its histories alone"


def arguments(own: argparse.ArgumentParser) -> None:
    own.add_argument(
        "--verdicts",
        type=Path,
        required=True,
        metavar="RUN",
        help="recompute the verdicts of this run, of the folder of one case, or of a history file",
    )


def execute(options: argparse.Namespace) -> int:
    from meshproof.replay import replay_verdicts

    return replay_verdicts(options.verdicts, sys.stdout)
