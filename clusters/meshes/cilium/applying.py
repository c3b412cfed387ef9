"""Rendered objects given to a real API server, as strictly as it can take them, and read back.

Server-side apply with strict field validation: a field the API does not know is refused instead of dropped. What a
controller or kubelet makes of the objects is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from meshproof.clusters.fleet import Cluster
from meshproof.clusters.meshes.cilium.commands import run
from meshproof.clusters.meshes.cilium.rendered import Manifest, Rendered

APPLY_SECONDS_MAX, REMOVE_SECONDS_MAX = 120.0, 180.0
OWNER = "meshproof-fidelity"


def apply(kubectl: Path, cluster: Cluster, objects: Sequence[Manifest]) -> Rendered:
    """Apply every object, and return them as the API server keeps them, in the same order.

    Raises `CommandFailed` with the API server's words when it refuses one.
    """
    strict = ["apply", "--server-side", "--validate=strict", f"--field-manager={OWNER}", "--force-conflicts"]
    _kubectl(kubectl, cluster, [*strict, "-f", "-"], objects, APPLY_SECONDS_MAX)
    kept = json.loads(_kubectl(kubectl, cluster, ["get", "-o", "json", "-f", "-"], objects, APPLY_SECONDS_MAX))
    return Rendered(tuple(kept["items"]))


def remove(kubectl: Path, cluster: Cluster, objects: Sequence[Manifest]) -> None:
    """Delete the objects and wait for them to be gone."""
    words = ["delete", "--ignore-not-found", "--wait=true", "-f", "-"]
    _kubectl(kubectl, cluster, words, objects, REMOVE_SECONDS_MAX)


def _kubectl(kubectl: Path, cluster: Cluster, words: list[str], objects: Sequence[Manifest], seconds: float) -> str:
    where = [f"--kubeconfig={cluster.kubeconfig}", f"--context={cluster.context}"]
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return run([str(kubectl), *where, *words], seconds=seconds, feed=json.dumps(listed).encode())
