"""How a component of the reference mesh begins and ends: configuration, log lines, SIGTERM."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from meshproof.clusters.meshes.reference.link import Exporter
from meshproof.clusters.meshes.reference.records import Member
from meshproof.clusters.meshes.reference.serving import Tls


def begin(arguments: list[str]) -> dict[str, Any]:
    """The configuration named by the one argument; log lines go to stderr and SIGTERM ends the process at once.

    Nothing is withdrawn at the end: an agent's rules stay in the kernel for its successor.
    """
    if len(arguments) != 1:
        sys.exit("usage: python -m meshproof.clusters.meshes.reference.(exporter|agent) CONFIG.json")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    config: dict[str, Any] = json.loads(Path(arguments[0]).read_text())
    return config


def peers_of(config: dict[str, Any]) -> dict[Member, Exporter]:
    """The peers that a configuration names."""
    tls = Tls(**config["tls"])
    return {
        Member(peer["cluster"], peer["id"]): Exporter(peer["cluster"], peer["address"], peer["port"], tls)
        for peer in config.get("peers", ())
    }
