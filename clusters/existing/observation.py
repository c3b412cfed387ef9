"""What a cluster that somebody else made says of itself, and what is guessed from that. Reads only.

Nothing here is declared by a person: who a cluster is (the UID of kube-system), its version, its nodes and networks as
far as its API tells them, and which mesh it seems to be part of. What the API refuses to tell counts as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from meshproof.clusters.fleet import Cluster, EnvironmentUnfit

CILIUM_CONFIG = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
REFERENCE_STATUS = "/api/v1/namespaces/kube-system/configmaps/reference-mesh-status"
CILIUM_AGENTS = "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium"
SERVICE_NETWORKS = "/apis/networking.k8s.io/v1/servicecidrs"
NODES = "/api/v1/nodes"
KUBE_SYSTEM = "/api/v1/namespaces/kube-system"

GLOBAL_BY_DEFAULT = "clustermesh-default-global-namespace"
AZURE = "kubernetes.azure.com/cluster"
"""A label that every node of an AKS cluster has."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One cluster. Empty, 0 or None is what it did not tell."""

    uid: str
    version: str
    nodes: int = 0
    """That take pods."""
    pod_networks: tuple[str, ...] = ()
    """As its nodes have them, joined where they meet."""
    service_network: str = ""
    cilium: Mapping[str, str] | None = None
    """The data of kube-system/cilium-config."""
    cilium_version: str = ""
    """The tag of its agents' image."""
    reference: bool = False
    """Our reference mesh is at work there."""
    azure: bool = False
    untold: Mapping[str, str] = field(default_factory=dict)
    """What the API server refused to tell, by path."""

    @property
    def mesh(self) -> str:
        """The mesh it seems to be part of, by its name in fleet files; empty when there is no sign of one."""
        if self.reference:
            return "reference"
        if self.cilium is None:
            return ""
        return "aks-fleet" if self.azure else "cilium"

    @property
    def profile(self) -> str:
        """What its network should be held to; empty when nobody can guess."""
        return {"reference": "cilium", "cilium": "cilium", "aks-fleet": "aks-fleet"}.get(self.mesh, "")

    @property
    def id(self) -> int:
        """Its number in the mesh."""
        text = (self.cilium or {}).get("cluster-id", "")
        return int(text) if text.isdecimal() else 0


def observe(cluster: Cluster) -> Observed:
    """Look at one cluster. Raises EnvironmentUnfit when it does not answer, or does not say who it is."""
    from kubernetes.client import ApiException

    from meshproof.clusters.api import call, described

    untold: dict[str, str] = {}

    def told(path: str) -> dict[str, Any]:
        """What is there; nothing when there is not, or when it may not be seen."""
        try:
            return call(cluster, "GET", path)
        except ApiException as error:
            if error.status != 404:
                untold[path] = f"{error.status} {error.reason}"
            return {}

    try:
        uid = str(call(cluster, "GET", KUBE_SYSTEM)["metadata"]["uid"])
        version = str(call(cluster, "GET", "/version")["gitVersion"])
        nodes: list[dict[str, Any]] = told(NODES).get("items") or []
        cilium, agents = told(CILIUM_CONFIG), told(CILIUM_AGENTS)
        reference, services = told(REFERENCE_STATUS), told(SERVICE_NETWORKS)
    except Exception as error:  # whatever the client raises: no such host, an expired token, a plugin that failed
        why = described(error)
        forbidden = "; meshproof rbac prints what a run needs" if why.startswith("403") else ""
        raise EnvironmentUnfit(
            f"cluster {cluster.name} (context {cluster.context}) does not say who it is: {why}{forbidden}"
        ) from error
    return Observed(
        uid=uid,
        version=version,
        nodes=sum(_takes_pods(node) for node in nodes),
        pod_networks=_joined(network for node in nodes for network in node["spec"].get("podCIDRs") or ()),
        service_network=next(
            iter(_joined(one for its in services.get("items") or () for one in its["spec"]["cidrs"])), ""
        ),
        cilium=dict(cilium.get("data") or {}) if cilium else None,
        cilium_version=_tag(agents),
        reference=bool(reference),
        azure=any(AZURE in (node["metadata"].get("labels") or {}) for node in nodes),
        untold=untold,
    )


def _takes_pods(node: Mapping[str, Any]) -> bool:
    taints = node["spec"].get("taints") or ()
    closed = any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in taints)
    return not (closed or node["spec"].get("unschedulable"))


def _joined(networks: Iterable[str]) -> tuple[str, ...]:
    """The IPv4 ones among them, joined where they meet."""
    return tuple(str(each) for each in collapse_addresses(IPv4Network(one) for one in networks if ":" not in one))


def _tag(agents: Mapping[str, Any]) -> str:
    """The tag of the first container's image in a DaemonSet; its digest where it has no tag."""
    containers = agents.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or ()
    image = str(containers[0].get("image", "")) if containers else ""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or digest[:19]
