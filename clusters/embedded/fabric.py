"""The flat network of an embedded fleet: every host one namespace, every link a veth to one router.

The router is the network namespace the supervisor itself lives in (the fabric). It forwards and
nothing else: no NAT, no default route, and the service CIDRs lead nowhere, because a ClusterIP
that a node did not translate must not be answered by somebody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from pyroute2 import IPRoute

from meshproof.clusters.embedded import addresses, netns
from meshproof.clusters.fleet import FleetSpec

LINK_SCOPE = 253
LINK_NAME_MAX = 15
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


def build(spec: FleetSpec) -> None:
    """All namespaces and links of the fleet, made from inside the fabric's namespace."""
    _prepare()
    with _route() as route:
        route.link("set", index=1, state="up")
        for cidr in {cluster.service_cidr for cluster in spec.clusters}:
            route.route("add", dst=cidr, type="blackhole")
    for cluster in spec.clusters:
        gateway = addresses.gateway(cluster)
        _add_host(addresses.control_plane_namespace(cluster), addresses.control_plane_address(cluster), gateway)
        _add_host(addresses.mesh_namespace(cluster), addresses.mesh_address(cluster), gateway)
        for node in addresses.node_names(cluster):
            _add_host(node, addresses.node_address(cluster, node), gateway)
    _add_host(addresses.OUTSIDE, addresses.OUTSIDE_ADDRESS, "198.51.100.1")


def join_host(spec: FleetSpec, host: int) -> None:
    """One veth to the machine, whose namespace `host` is open, so that its kubectl reaches every API server.

    The machine's end goes with the fabric's, and its routes with it, however the fleet dies.
    """
    with _route() as route:
        route.link(
            "add",
            ifname="host",
            kind="veth",
            peer={"ifname": addresses.HOST_LINK, "net_ns_fd": host},
        )
        index = _index(route, "host")
        route.addr("add", index=index, address=addresses.FABRIC_ADDRESS, prefixlen=addresses.HOST_NETWORK.prefixlen)
        route.link("set", index=index, state="up")
    netns.inside_descriptor(host, lambda: _configure_host_end(spec))


def _configure_host_end(spec: FleetSpec) -> None:
    with _route() as route:
        index = _index(route, addresses.HOST_LINK)
        route.addr("add", index=index, address=addresses.HOST_ADDRESS, prefixlen=addresses.HOST_NETWORK.prefixlen)
        route.link("set", index=index, state="up")
        for cluster in spec.clusters:
            for cidr in (cluster.node_cidr, cluster.pod_cidr):
                route.route("add", dst=cidr, gateway=addresses.FABRIC_ADDRESS, oif=index)


def _add_host(name: str, address: str, gateway: str) -> None:
    netns.create(name)
    netns.inside(name, _prepare)  # before its link, which takes over the namespace's defaults when it is made
    with open(netns.DIRECTORY / name, "rb") as namespace, _route() as route:
        link = link_name(name)
        route.link("add", ifname=link, kind="veth", peer={"ifname": "eth0", "net_ns_fd": namespace.fileno()})
        index = _index(route, link)
        route.addr("add", index=index, address=gateway, prefixlen=32)
        route.link("set", index=index, state="up")
        route.route("add", dst=f"{address}/32", oif=index, scope=LINK_SCOPE)
    netns.inside(name, lambda: _configure_host(address, gateway))


def _configure_host(address: str, gateway: str) -> None:
    with _route() as route:
        index = _index(route, "eth0")
        route.addr("add", index=index, address=address, prefixlen=32)
        route.link("set", index=index, state="up")
        route.route("add", dst=f"{gateway}/32", oif=index, scope=LINK_SCOPE)
        route.route("add", dst="default", gateway=gateway, oif=index)


def link_name(host: str) -> str:
    """The fabric's end of a host's link: the kernel allows 15 characters, a cluster name alone may have 32."""
    plain = f"v-{host}"
    return plain if len(plain) <= LINK_NAME_MAX else f"v{hashlib.sha256(host.encode()).hexdigest()[:12]}"


def _prepare() -> None:
    for key, value in SYSCTLS.items():
        if os.path.exists(f"/proc/sys/{key}"):
            netns.write_sysctl(key, value)


def _index(route: IPRoute, name: str) -> int:
    index: int = route.link_lookup(ifname=name)[0]
    return index


@contextlib.contextmanager
def _route() -> Iterator[IPRoute]:
    with contextlib.closing(IPRoute()) as route:
        yield route
