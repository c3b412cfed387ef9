"""`python -m meshproof.clusters.embedded.nodeagent <config.json>`: the node agent of one cluster."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from meshproof.clusters.embedded.nodeagent import settings
from meshproof.clusters.embedded.nodeagent.agent import Agent

M_ARENA_MAX = -8


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m meshproof.clusters.embedded.nodeagent <config.json>", file=sys.stderr)
        return 2
    # A malloc arena a thread would double what a few hundred short-lived threads leave behind.
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
    # Containers die with this process, so there is nothing to wait for.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    Agent(settings.read(Path(arguments[0]))).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
