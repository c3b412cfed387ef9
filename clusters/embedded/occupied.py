"""What of this machine is already taken: fleets that live on it, addresses and routes that a fleet would cover.

Living fleets are told by their processes (`MESHPROOF_FLEET_DIR` marks each), not by their
files, so a crashed fleet is no fleet and a fleet of another state directory is one.
Only root sees the processes of others.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import addresses
from meshproof.clusters.fleet import FleetSpec

_MARK = b"MESHPROOF_FLEET_DIR="
_ADDRESSED_TYPES = frozenset({"unicast", "local", "blackhole", "unreachable", "prohibit", "throw"})
_HALF_DEFAULT_BITS = 1
"""A VPN's 0.0.0.0/1 and 128.0.0.0/1 are its default route in two halves, and no collision."""


def living_fleets() -> frozenset[Path]:
    """The directories of the embedded fleets that have a process on this machine."""
    found: set[Path] = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environ.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is not ours to see
            continue
        found.update(Path(v.removeprefix(_MARK).decode(errors="replace")) for v in variables if v.startswith(_MARK))
    return frozenset(found)


def wanted_networks(spec: FleetSpec | None) -> Mapping[str, IPv4Network]:
    """What the machine must route to the fleet, by a name a person knows from the fleet file."""
    wanted = {
        "the link to the fleet": addresses.HOST_NETWORK,
        "the host outside all clusters": IPv4Network(addresses.OUTSIDE_ADDRESS),
    }
    for cluster in spec.clusters if spec else ():
        wanted[f"{cluster.name}'s nodeCIDR"] = IPv4Network(cluster.node_cidr)
        wanted[f"{cluster.name}'s podCIDR"] = IPv4Network(cluster.pod_cidr)
    return wanted


def taken_networks(*, ignore_link: str = "") -> tuple[tuple[IPv4Network, str], ...]:
    """Every IPv4 network this machine has an address in or a route to, with what has it ("route on eth0").

    `ignore_link`: the link of our own living fleet, whose addresses and routes are no collision with itself.
    Raises OSError or ValueError when `ip -j` cannot be run or read.
    """
    links = _ip("addr", "show")
    routes = _ip("route", "show", "table", "all")
    return (*_addresses(links, ignore_link), *_routes(routes, ignore_link))


def collisions(
    wanted: Mapping[str, IPv4Network], taken: Iterable[tuple[IPv4Network, str]]
) -> Iterator[tuple[str, IPv4Network, IPv4Network, str]]:
    """(name of the wanted network, it, the network in its way, what has that), each wanted network once at most."""
    taken = tuple(taken)
    for name, network in wanted.items():
        for other, holder in taken:
            if network.overlaps(other):
                yield name, network, other, holder
                break


def _addresses(links: Sequence[Mapping[str, Any]], ignore: str) -> Iterator[tuple[IPv4Network, str]]:
    for link in links:
        for address in link.get("addr_info", ()):
            if link["ifname"] != ignore and address.get("family") == "inet":
                network = IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
                yield network, f"address {address['local']} on {link['ifname']}"


def _routes(routes: Sequence[Mapping[str, Any]], ignore: str) -> Iterator[tuple[IPv4Network, str]]:
    for route in routes:
        if route["dst"] == "default" or route.get("type", "unicast") not in _ADDRESSED_TYPES:
            continue
        network = IPv4Network(route["dst"], strict=False)
        if network.prefixlen > _HALF_DEFAULT_BITS and (not ignore or route.get("dev") != ignore):
            where = f"on {route['dev']}" if "dev" in route else f"({route.get('type', 'several hops')})"
            yield network, f"route {where}"


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-4", "-j", *arguments], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"ip ended with status {done.returncode}")
    # ip says nothing at all, rather than [], when there is nothing; and -4 gives {} for links without IPv4.
    return [entry for entry in json.loads(done.stdout or "[]") if entry]
