"""What is decided before anything is made: names, addresses, and what kind is told of each cluster.

All nodes of a fleet stand on one Docker network (`nodeCIDR` of the fleet file), so they are neighbours, and pod
networks are routed between them as they are. Everything here is derived from the fleet file alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshproof.clusters.embedded import addresses
from meshproof.clusters.fleet import ClusterSpec, FleetSpec
from meshproof.clusters.kind.images import ETCD_TAG, REPOSITORY

MESH_PORT = addresses.MESH_PORT + 30000
"""On the node of the control plane, where 2379 is etcd's."""
MTU = 1500
ALONE_TABLE = 151
"""Routing table of a node that stops what came from a pod, went to a service address and found no backend."""
BRIDGE_MAX = 15


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its API server describes it."""

    cluster: str
    name: str
    address: str
    pod_cidr: str


def cluster_name(spec: FleetSpec, cluster: ClusterSpec) -> str:
    """What kind calls the cluster; its nodes are named after it."""
    return f"{spec.name}-{cluster.name}"


def network_name(spec: FleetSpec) -> str:
    return f"meshproof-{spec.name}"


def bridge_name(spec: FleetSpec) -> str:
    """The network's link on the machine; the kernel takes 15 characters."""
    return f"mpk-{spec.name}"[:BRIDGE_MAX].rstrip("-")


def control_plane(spec: FleetSpec, cluster: ClusterSpec) -> str:
    """The node (and container) that carries the control plane; it runs pods too."""
    return f"{cluster_name(spec, cluster)}-control-plane"


def node_names(spec: FleetSpec, cluster: ClusterSpec) -> list[str]:
    """All nodes of a cluster, in kind's own words: worker, worker2, worker3, ..."""
    workers = [f"worker{n if n > 1 else ''}" for n in range(1, cluster.workers)]
    return [control_plane(spec, cluster), *(f"{cluster_name(spec, cluster)}-{worker}" for worker in workers)]


def network_of(spec: FleetSpec) -> str:
    """The one network that all nodes stand in."""
    return spec.clusters[0].node_cidr


def kind_config(cluster: ClusterSpec) -> Mapping[str, Any]:
    """kind's own configuration of one cluster. No proxy, no CNI, no taint: the fleet brings what it needs."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "disableDefaultCNI": True,
            "kubeProxyMode": "none",
            "podSubnet": cluster.pod_cidr,
            "serviceSubnet": cluster.service_cidr,
        },
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(1, cluster.workers))],
        "kubeadmConfigPatchesJSON6902": [],
        "kubeadmConfigPatches": [_patch(*document) for document in _DOCUMENTS],
    }


_KUBEADM = "kubeadm.k8s.io/v1beta4"
_QUIET_ETCD = [{"name": "unsafe-no-fsync", "value": "true"}]
_DOCUMENTS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    (
        _KUBEADM,
        "ClusterConfiguration",
        {"imageRepository": REPOSITORY, "etcd": {"local": {"imageTag": ETCD_TAG, "extraArgs": _QUIET_ETCD}}},
    ),
    (
        _KUBEADM,
        "InitConfiguration",
        {
            "skipPhases": ["preflight", "addon/coredns", "addon/kube-proxy"],
            "nodeRegistration": {"taints": []},
        },
    ),
    (
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        # The OOM score and old cgroups: what a machine without CAP_SYS_RESOURCE, or with cgroup v1, needs.
        {"cgroupDriver": "cgroupfs", "failCgroupV1": False, "oomScoreAdj": 0},
    ),
)


def _patch(version: str, kind: str, content: Mapping[str, Any]) -> str:
    import yaml

    document = {"apiVersion": version, "kind": kind, "metadata": {"name": "config"}, **content}
    return str(yaml.safe_dump(document, sort_keys=False))


def cni_config(node: Node) -> Mapping[str, Any]:
    """A pod gets an address of its node's range and a link to the node, nothing is translated."""
    return {
        "cniVersion": "1.0.0",
        "name": "meshproof",
        "plugins": [
            {
                "type": "ptp",
                "mtu": MTU,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def routes(node: Node, others: tuple[Node, ...], cluster: ClusterSpec) -> list[str]:
    """What `ip -batch` is told on one node: the way to every other node's pods, in whichever cluster.

    A packet from a pod to a service address that no rule has turned into a backend's goes nowhere, not to whatever
    the machine's default route leads to. The node's own processes are left alone: theirs are turned after routing.
    """
    ways = [f"route replace {other.pod_cidr} via {other.address}" for other in others if other != node]
    return [
        *ways,
        f"route replace blackhole {cluster.service_cidr} table {ALONE_TABLE}",
        f"rule add from {node.pod_cidr} lookup {ALONE_TABLE} priority {ALONE_TABLE}",
    ]
