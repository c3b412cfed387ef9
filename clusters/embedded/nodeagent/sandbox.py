"""A pod's network: a namespace, a veth to its node, one address of the node's pod range, routed both ways.

    pod: podIP/32, default via the range's first address  |  node: podIP/32 dev veth  |  fabric: podCIDR via the node

Nothing is translated. The name follows from the pod's uid, so a sandbox that an earlier agent left is found and
removed by name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import os
import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from meshproof.clusters.embedded import netns

LINK_SCOPE = 253  # pyroute2 assumes "universe", and the kernel then refuses the address as a gateway
SYSCTLS = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/ip_local_port_range": "1024 65000",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's network namespace and where it is attached."""

    name: str
    node_netns: str
    address: str
    gateway: str

    @property
    def link(self) -> str:
        """The veth on the node's side."""
        return "p" + self.name.rsplit("-", 1)[-1]


def name_for(cluster: str, uid: str) -> str:
    return f"{cluster}-p-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def build(sandbox: Sandbox) -> None:
    """Make the namespace and its link; anything left under the same name is removed first. Raises OSError."""
    if netns.exists(sandbox.name):
        remove(sandbox)
    netns.create(sandbox.name)
    try:
        netns.inside(sandbox.node_netns, lambda: _node_side(sandbox))
        netns.inside(sandbox.name, lambda: _pod_side(sandbox))
    except NetlinkError as error:
        remove(sandbox)
        raise OSError(error.code, f"network of {sandbox.name}: {error}") from error
    except BaseException:
        remove(sandbox)
        raise


def remove(sandbox: Sandbox) -> None:
    """Remove link, route and namespace. Absent is fine."""
    with contextlib.suppress(FileNotFoundError):
        netns.inside(sandbox.node_netns, lambda: _delete_link(sandbox.link))
    netns.delete(sandbox.name)


def sweep(cluster: str, node_netns: Iterable[str]) -> None:
    """Remove every pod network of the cluster: an agent that starts has no pod yet."""
    own = re.compile(rf"{re.escape(cluster)}-p-[0-9a-f]{{8}}")  # not the nodes of a cluster named <cluster>-p
    names = [name for name in os.listdir(netns.DIRECTORY) if own.fullmatch(name)]
    for name in names:
        for node in node_netns:
            remove(Sandbox(name, node, "", ""))


def route_range(pod_range: str, node_address: str, node_netns: str) -> None:
    """Send the node's pod range to the node, in the namespace of the caller (the fabric).

    In the node's own namespace an address of the range that no pod has leads nowhere; without that, the node's
    default route would send the packet back to the fabric, round and round.
    """

    def swallow() -> None:
        with contextlib.closing(IPRoute()) as route:
            route.route("replace", dst=pod_range, type="blackhole")

    netns.inside(node_netns, swallow)

    def add() -> None:
        with contextlib.closing(IPRoute()) as route:
            route.route("replace", dst=pod_range, gateway=node_address)

    thread_result: list[BaseException] = []

    def body() -> None:
        try:
            add()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            thread_result.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if thread_result:
        raise thread_result[0]


def forward(node_netns: str) -> None:
    """Let the node route between its pods and the fabric."""
    netns.inside(node_netns, lambda: netns.write_sysctl("net/ipv4/ip_forward", "1"))


def _node_side(sandbox: Sandbox) -> None:
    with contextlib.closing(IPRoute()) as route, open(netns.DIRECTORY / sandbox.name, "rb") as pod:
        peer = {"ifname": "eth0", "net_ns_fd": pod.fileno()}
        route.link("add", ifname=sandbox.link, kind="veth", peer=peer)
        index = route.link_lookup(ifname=sandbox.link)[0]
        with contextlib.suppress(FileNotFoundError):
            netns.write_sysctl(f"net/ipv6/conf/{sandbox.link}/disable_ipv6", "1")
        route.addr("add", index=index, address=sandbox.gateway, prefixlen=32)
        route.link("set", index=index, state="up")
        route.route("replace", dst=f"{sandbox.address}/32", oif=index, scope=LINK_SCOPE)


def _pod_side(sandbox: Sandbox) -> None:
    for key, value in SYSCTLS.items():
        if Path("/proc/sys", key).exists():
            netns.write_sysctl(key, value)
    with contextlib.suppress(FileNotFoundError):
        netns.write_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
    with contextlib.closing(IPRoute()) as route:
        index = route.link_lookup(ifname="eth0")[0]
        route.addr("add", index=index, address=sandbox.address, prefixlen=32)
        route.link("set", index=index, state="up")
        route.route("add", dst=f"{sandbox.gateway}/32", oif=index, scope=LINK_SCOPE)
        route.route("add", dst="default", gateway=sandbox.gateway)


def _delete_link(name: str) -> None:
    with contextlib.closing(IPRoute()) as route:
        try:
            route.link("del", ifname=name)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise


class Addresses:
    """The pod addresses of one node, given out in turn, so that one that was freed is not used again soon.

    Thread-safe.
    """

    def __init__(self, pod_range: str, taken: Iterable[str], after: str = "") -> None:
        network = ipaddress.ip_network(pod_range)
        hosts = [str(host) for host in network.hosts()]
        self.gateway = hosts[0]
        self._lock = threading.Lock()
        self._taken = set(taken) & set(hosts)
        self._free = deque(host for host in hosts[1:] if host not in self._taken)
        if after in hosts:
            last = int(ipaddress.ip_address(after))
            while self._free and any(int(ipaddress.ip_address(host)) > last for host in self._free):
                if int(ipaddress.ip_address(self._free[0])) > last:
                    break
                self._free.rotate(-1)

    def take(self, wanted: str = "") -> str:
        """`wanted` when it was set aside at the start, else the address that was free longest.

        Raises OSError when all are used.
        """
        with self._lock:
            if wanted in self._taken:
                return wanted
            if not self._free:
                raise OSError(errno.EADDRNOTAVAIL, "no pod address is free on this node")
            address = self._free.popleft()
            self._taken.add(address)
            return address

    def give_back(self, address: str) -> None:
        with self._lock:
            if address in self._taken:
                self._taken.discard(address)
                self._free.append(address)
