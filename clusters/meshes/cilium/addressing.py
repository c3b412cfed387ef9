"""The two numbers a mesh of Cilium clusters has to agree on: the native routing network, and a node port each.

The native routing network covers every pod of the fleet, so that no node rewrites the source of a packet to a pod of
another cluster (cilium#8885). What it covers beyond pods loses its masquerading too, and would be spoken to from an
address that only the members' nodes have a route to. So it may not cover a node network, in which there are gateways
and other machines, and it must lie within one block of addresses that are private by definition; a fleet whose pods
are strewn wider is refused. Services may lie in it: their addresses are translated before anything is routed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, collapse_addresses

from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit

NODE_PORT_FIRST = 32379
"""The chart's default, plus the cluster's id: with kube-proxy replacement a node answers another cluster's node port
itself when it serves the same one, so agents end up at their own API server and look healthy (cilium#24692)."""

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
"""RFC 1918, and RFC 6598's shared addresses."""


def node_port(cluster: ClusterSpec) -> int:
    """The port of a cluster's mesh API server on its nodes: 32380 to 32634, another one for each id."""
    return NODE_PORT_FIRST + cluster.id


def native_network(clusters: Sequence[ClusterSpec], nodes: Iterable[str] = ()) -> IPv4Network:
    """The smallest network that covers the pods of all clusters; `nodes` are addresses of nodes known so far.

    Raises `EnvironmentUnfit` when that network would cover what must stay masqueraded.
    """
    pods = [IPv4Network(cluster.pod_cidr) for cluster in clusters]
    network = pods[0]
    while not all(part.subnet_of(network) for part in pods):
        network = network.supernet()
    written = ", ".join(f"{cluster.pod_cidr} ({cluster.name})" for cluster in clusters)
    if not any(network.subnet_of(block) for block in PRIVATE):
        raise EnvironmentUnfit(
            f"no native routing network fits: the smallest that covers the pods of all clusters ({written}) is"
            f" {network}, which is not within one private block ({', '.join(map(str, PRIVATE))});"
            " move the pod networks together"
        )
    others = [(cluster.node_cidr, f"nodes of {cluster.name}") for cluster in clusters]
    others += [(f"{address}/32", "a node") for address in nodes]
    for other, whose in others:
        if network.overlaps(IPv4Network(other)):
            raise EnvironmentUnfit(
                f"no native routing network fits: the smallest that covers the pods of all clusters ({written}) is"
                f" {network}, which also covers {other}, {whose}; move the pod networks together, or away from it"
            )
    return network


def strangers(network: IPv4Network, clusters: Sequence[ClusterSpec]) -> tuple[IPv4Network, ...]:
    """What the native routing network covers besides pods of the fleet: nothing else may live there."""
    left = [network]
    for cluster in clusters:
        pods = IPv4Network(cluster.pod_cidr)
        left = [part for whole in left for part in (whole.address_exclude(pods) if pods.subnet_of(whole) else (whole,))]
    return tuple(collapse_addresses(left))
