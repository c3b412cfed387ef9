"""What is kept of a kind fleet that did not come up: enough to see why without the fleet.

Per cluster: nodes, pods, events and what stands in the way of each pod; per node: the log of its first process, of
containerd and of the kubelet. Everything is asked for with a short deadline, and what does not answer says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from meshproof.clusters.embedded import binaries
from meshproof.clusters.embedded.pki import write_secret
from meshproof.clusters.fleet import FleetSpec
from meshproof.clusters.kind import engine
from meshproof.clusters.kind.bringup import nodes_of
from meshproof.clusters.kind.command import CommandFailed, run
from meshproof.clusters.kind.engine import Engine
from meshproof.clusters.places import state_directory

ASK_SECONDS_MAX = 10.0
LOG_LINES = "400"
_QUESTIONS = {
    "nodes.txt": ("get", "nodes", "--output=wide"),
    "pods.txt": ("get", "pods", "--all-namespaces", "--output=wide"),
    "events.txt": ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
    "describe.txt": ("describe", "pods", "--all-namespaces"),
    "mesh-status.txt": ("get", "configmap", "reference-mesh-status", "--namespace=kube-system", "--output=yaml"),
    "mesh-agents.log": ("logs", "daemonset/reference-mesh-agent", "--namespace=kube-system", f"--tail={LOG_LINES}"),
}
_NODE_LOGS = ("/var/log/kubelet.log", "/var/log/containerd.log")


def keep(spec: FleetSpec, directory: Path) -> Path:
    """Gather it; where it lies now: the last failed fleet's only."""
    kept = state_directory() / "last-failure"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700, parents=True)
    docker = engine.running()
    asked = [*_of_clusters(spec, directory), *(_of_nodes(docker, directory) if docker else ())]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda question: _answer(question[1], docker), asked)
        for (name, _), answer in zip(asked, answers, strict=True):
            (kept / name).parent.mkdir(mode=0o700, exist_ok=True)
            write_secret(kept / name, answer.encode())
    for own in ("status.json", "fleet.yaml"):
        if (directory / own).exists():
            shutil.copyfile(directory / own, kept / own)
    return kept


def _answer(command: list[str], docker: Engine | None) -> str:
    environment = docker.environment() if docker else dict(os.environ)
    try:
        return run(command, seconds_max=ASK_SECONDS_MAX, environment=environment)
    except CommandFailed as error:
        return f"{error}\n"


def _of_clusters(spec: FleetSpec, directory: Path) -> Iterator[tuple[str, list[str]]]:
    found = binaries.find_built()
    for cluster in spec.clusters:
        kubeconfig = directory / "kubeconfig" / cluster.name
        if found and kubeconfig.exists():
            for name, words in _QUESTIONS.items():
                yield f"{cluster.name}/{name}", [str(found.kubectl), f"--kubeconfig={kubeconfig}", *words]


def _of_nodes(docker: Engine, directory: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        nodes = nodes_of(docker, directory)
    except CommandFailed:
        return
    for node in nodes:
        yield f"{node}/node.log", ["docker", "logs", f"--tail={LOG_LINES}", node]
        for log in _NODE_LOGS:
            yield f"{node}/{Path(log).name}", ["docker", "exec", node, "tail", f"--lines={LOG_LINES}", log]
