"""The helm values of each cluster: everything Cilium needs to know to be one member of one mesh.

Pure: a fleet's specification, where its clusters are reached, a release and its images in; plain data out. What every
member has to agree on is computed from the same fleet for each, so clusters may be installed in any order, each once.
The authority is apart, in values of its own: they are the same for all members, and the only ones with a secret.

Why the values are what they are: docs/decisions/0030-cilium-by-helm-values.md.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit, FleetSpec
from meshproof.clusters.meshes.cilium.addressing import native_network, node_port
from meshproof.clusters.meshes.cilium.lock import Release
from meshproof.clusters.meshes.cilium.placement import Placed

FLEET_LIKE_SINCE = (1, 20)
"""The first line whose chart has clustermesh.defaultGlobalNamespace."""
PEERS_AS_MAP_SINCE = (1, 19)
"""1.18's values schema takes the peers only as a list; later charts take both and advise the map."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a cluster is reached: IPv4 addresses of some of its nodes, and its API server for its own agents."""

    nodes: tuple[str, ...]
    api_host: str
    api_port: int


def cluster_values(
    spec: FleetSpec, cluster: ClusterSpec, reach: Mapping[str, Reach], release: Release, images: Sequence[Placed] = ()
) -> dict[str, Any]:
    """The values of one cluster, the authority's left out; `reach` has every cluster of the fleet by name.

    Raises `EnvironmentUnfit` when the fleet cannot be such a mesh, or the release not have this profile.
    """
    _refuse_unreachable(spec, reach)
    network = native_network(spec.clusters, [node for place in reach.values() for node in place.nodes])
    own = reach[cluster.name]
    values: dict[str, Any] = {
        "cluster": {"name": cluster.name, "id": cluster.id},
        "ipam": {"mode": "kubernetes"},
        "routingMode": "native",
        "autoDirectNodeRoutes": True,
        "ipv4NativeRoutingCIDR": str(network),
        "kubeProxyReplacement": "true",
        "bpf": {"masquerade": True},
        "k8sServiceHost": own.api_host,
        "k8sServicePort": own.api_port,
        "clustermesh": {
            "useAPIServer": True,
            "apiserver": {
                "service": {"type": "NodePort", "nodePort": node_port(cluster)},
                "kvstoremesh": {"enabled": True},
            },
            "config": {"enabled": True, "clusters": _peers(spec, cluster, reach, release)},
            **_profile(spec.profile, release),
        },
    }
    for placed in images:
        if placed.moved:
            _set(values, f"{placed.image.value}.override", placed.reference)
    return values


def authority_values(certificate: bytes, key: bytes) -> dict[str, Any]:
    """The values all members share: our authority, from PEM. Secret, because of the key."""
    cert, private = (base64.b64encode(pem).decode("ascii") for pem in (certificate, key))
    return {"tls": {"ca": {"cert": cert, "key": private}}}


def _profile(profile: str, release: Release) -> dict[str, Any]:
    match profile:
        case "cilium":
            return {}
        case "aks-fleet" if release.line >= FLEET_LIKE_SINCE:
            return {"defaultGlobalNamespace": False}
        case "aks-fleet":
            raise EnvironmentUnfit(
                f"the profile aks-fleet needs namespaces that are local by default, and Cilium {release.version}"
                f" has none: use {'.'.join(map(str, FLEET_LIKE_SINCE))}"
            )
    raise EnvironmentUnfit(f"Cilium has no settings for the profile {profile}; it has them for cilium and aks-fleet")


def _peers(
    spec: FleetSpec, cluster: ClusterSpec, reach: Mapping[str, Reach], release: Release
) -> dict[str, Any] | list[dict[str, Any]]:
    peers = {
        peer.name: {"ips": list(reach[peer.name].nodes), "port": node_port(peer)}
        for peer in spec.clusters
        if peer.name != cluster.name
    }
    if release.line >= PEERS_AS_MAP_SINCE:
        return peers
    return [{"name": name, **peer} for name, peer in peers.items()]


def _refuse_unreachable(spec: FleetSpec, reach: Mapping[str, Reach]) -> None:
    names = [cluster.name for cluster in spec.clusters]
    if unknown := sorted(set(reach) - set(names)):
        raise EnvironmentUnfit(f"fleet {spec.name} has no cluster {unknown[0]}; it has {', '.join(names)}")
    if missing := [name for name in names if name not in reach or not reach[name].nodes]:
        raise EnvironmentUnfit(f"no node address of {', '.join(missing)} is known, so its peers could not reach it")
    owner: dict[IPv4Address, str] = {}
    for name in names:
        for text in reach[name].nodes:
            try:
                address = IPv4Address(text)
            except AddressValueError:
                raise EnvironmentUnfit(f"{text!r}, a node of {name}, is no IPv4 address") from None
            if owner.setdefault(address, name) != name:
                raise EnvironmentUnfit(f"{address} is said to be a node of {owner[address]} and of {name}")


def _set(values: dict[str, Any], place: str, value: object) -> None:
    *above, last = place.split(".")
    for step in above:
        values = values.setdefault(step, {})
    values[last] = value
