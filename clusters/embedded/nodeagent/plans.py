"""The plan of a container's next run: what its spec says, put together with what all containers of its pod share.

Making a plan also lays out a fresh, empty termination message, because the plan mounts it; nothing else is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded.nodeagent import environment
from meshproof.clusters.embedded.nodeagent.container import Mount, Plan
from meshproof.clusters.embedded.nodeagent.environment import Facts
from meshproof.clusters.embedded.nodeagent.identity import identity
from meshproof.clusters.embedded.nodeagent.images import Image

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all containers of a pod share."""

    pod: Object
    facts: Facts
    network: str
    node_netns: str
    links: Mapping[str, str]
    """Service variables, before the container's own."""
    directory: Path
    """The pod's directory on the scratch tmpfs."""
    logs: Path
    tell: Callable[[Callable[[], None]], None]


def plan(around: Surroundings, spec: Object, image: Image, restarts: int) -> Plan:
    """The plan of the run after `restarts` others; `spec` is the container's entry in the pod spec.

    Raises CannotStart, or OSError.
    """
    pod, name = around.pod, spec["name"]
    variables = environment.variables(pod, spec, around.facts, around.links)
    message = message_path(around, name)
    message.parent.mkdir(exist_ok=True)
    message.unlink(missing_ok=True)
    message.touch()
    message.chmod(0o666)
    etc = around.directory / "etc"
    return Plan(
        image=image,
        identity=identity(pod, spec),
        argv=tuple(environment.argv(spec, image.command, variables)),
        environment=variables,
        cwd=spec.get("workingDir") or "/",
        hostname=environment.hostname(pod),
        network=around.network,
        mounts=(
            *(Mount(etc / file, f"/etc/{file}", False) for file in ("hosts", "hostname", "resolv.conf")),
            Mount(message, spec.get("terminationMessagePath") or "/dev/termination-log", False),
            *(
                Mount(around.directory / "volumes" / mount["name"], mount["mountPath"], bool(mount.get("readOnly")))
                for mount in spec.get("volumeMounts") or []
            ),
        ),
        scratch=around.directory / "runs" / f"{name}-{restarts}",
    )


def message_path(around: Surroundings, name: str) -> Path:
    """Where the container called `name` leaves its termination message."""
    return around.directory / "messages" / name
