"""The steps of a bring-up as somebody who waits for it sees them: which are open, and which log tells about the first.

`bringup` says when a step is done; its name is that of the cluster and of one of `LOGS`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from meshproof.clusters.fleet import FleetSpec

LOGS = {"api": "kube-apiserver", "nodes": "node-agent", "mesh": "mesh-exporter", "dns": "node-agent"}
"""The steps of a cluster in their order, each with the log that says most while it lasts."""


def pending(spec: FleetSpec, directory: Path, done: Collection[str]) -> tuple[str, Path]:
    """The next step of each cluster in words, and the log to look at."""
    supervisor = directory / "supervisor.log"
    if "network" not in done:
        return "the network", supervisor
    order = [step for step in LOGS if step != "mesh" or spec.mesh == "reference"]
    following = [next((step for step in order if f"{each.name} {step}" not in done), "") for each in spec.clusters]
    found = [(each.name, step) for each, step in zip(spec.clusters, following, strict=True) if step]
    if not found:
        return "the last step", supervisor
    first, step = found[0]
    return ", ".join(map(" ".join, found)), directory / "logs" / first / f"{LOGS[step]}.log"
