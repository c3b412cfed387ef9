"""Where everything in an embedded fleet is found: one place for every address and namespace name.

All are derived from the fleet file, so that two readers (the supervisor and a person with
`tcpdump`) agree without asking each other.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from meshproof.clusters.fleet import ClusterSpec

HOST_LINK = "meshproof0"
HOST_NETWORK = IPv4Network("100.66.0.0/30")
HOST_ADDRESS = "100.66.0.1"
FABRIC_ADDRESS = "100.66.0.2"
OUTSIDE = "outside"
OUTSIDE_ADDRESS = "198.51.100.10"

API_PORT = 6443
MESH_PORT = 2379


def _nth(cidr: str, number: int) -> str:
    return str(IPv4Network(cidr)[number])


def control_plane_namespace(cluster: ClusterSpec) -> str:
    return f"{cluster.name}-cp"


def control_plane_address(cluster: ClusterSpec) -> str:
    return _nth(cluster.node_cidr, 10)


def mesh_namespace(cluster: ClusterSpec) -> str:
    return f"{cluster.name}-mesh"


def mesh_address(cluster: ClusterSpec) -> str:
    return _nth(cluster.node_cidr, 20)


def gateway(cluster: ClusterSpec) -> str:
    """The fabric's address on every link of this cluster's node subnet."""
    return _nth(cluster.node_cidr, 1)


def node_names(cluster: ClusterSpec) -> list[str]:
    """Node names, which are also the names of the nodes' network namespaces."""
    return [f"{cluster.name}-{number}" for number in range(1, cluster.workers + 1)]


def node_address(cluster: ClusterSpec, name: str) -> str:
    return _nth(cluster.node_cidr, 101 + node_names(cluster).index(name))


def kubernetes_service_address(cluster: ClusterSpec) -> str:
    return _nth(cluster.service_cidr, 1)


def dns_service_address(cluster: ClusterSpec) -> str:
    return _nth(cluster.service_cidr, 10)


def api_server(cluster: ClusterSpec) -> str:
    return f"https://{control_plane_address(cluster)}:{API_PORT}"
