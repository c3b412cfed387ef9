"""The house a pod moves into: what all pods of the agent share, and what each finds there before a container starts.

That is its volumes, its files in /etc and the variables that say where services are. All of it may be done again
when it has failed half-way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded.nodeagent import environment, volumes
from meshproof.clusters.embedded.nodeagent.environment import Facts
from meshproof.clusters.embedded.nodeagent.keeper import Tools
from meshproof.clusters.rest import Api

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class House:
    """What every pod of the agent needs: where it runs and whom it asks."""

    api: Api
    tools: Tools
    cluster: str
    scratch: Path
    logs: Path
    dns: str
    domain: str
    host_resolv: str
    api_address: tuple[str, str]
    """Host and port, as pods are told."""


def fill(house: House, pod: Object, facts: Facts, directory: Path, only_tokens: bool = False) -> float:
    """Make the volumes in the pod's directory or, with `only_tokens`, renew those that hold a token.

    Returns when the tokens should be renewed (monotonic; infinite without a token). Raises NotYet and OSError.
    """
    source = volumes.Source(house.api, pod, facts)
    for volume in pod["spec"].get("volumes") or []:
        if not only_tokens or volumes.has_token(volume):
            volumes.fill(directory / "volumes" / volume["name"], volume, source)
    return time.monotonic() + volumes.token_seconds(pod)


def write_etc(house: House, pod: Object, facts: Facts, directory: Path) -> None:
    """The files in /etc that are the pod's own, in its directory. Raises OSError."""
    etc = directory / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "hosts").write_text(environment.hosts_file(pod, facts.pod_ip, house.domain))
    (etc / "hostname").write_text(environment.hostname(pod) + "\n")
    (etc / "resolv.conf").write_text(environment.resolv_file(pod, house.dns, house.domain, house.host_resolv))


def variables(house: House, pod: Object) -> dict[str, str]:
    """Where the API server is, and the namespace's services when the pod wants service links. Raises ApiError.

    The API server's own address stands in for the `kubernetes` Service, so that what a program of the cluster
    knows of its API does not depend on the network under test.
    """
    found: dict[str, str] = {}
    if pod["spec"].get("enableServiceLinks", True):
        namespace = pod["metadata"]["namespace"]
        found = environment.service_variables(
            house.api.get(f"/api/v1/namespaces/{namespace}/services").get("items") or []
        )
    host, port = house.api_address
    return {
        **found,
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
    }
