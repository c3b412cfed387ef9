"""The networks of a fleet file: each in order by itself, and none in another's way.

Only clusters that we make declare them. Those of clusters somebody else made are as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from meshproof.clusters.markedyaml import Marked, Problem, Route, spell

_TAKEN = {
    IPv4Network("0.0.0.0/8"): "addresses that nobody can have",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local addresses",
    IPv4Network("224.0.0.0/3"): "multicast and reserved addresses",
}
_TAKEN_EMBEDDED = {
    IPv4Network("100.66.0.0/30"): "the embedded fleet's link to this machine",
    IPv4Network("198.51.100.10/32"): "the host outside all clusters",
}
_PREFIXES = {
    "nodeCIDR": (8, 24, "nodes stand at network address + 101 and up"),
    "podCIDR": (8, 24, "every node gets a /24 of it"),
    "serviceCIDR": (12, 24, "the API server takes none wider, and the suite needs some room"),
}


def each(marked: Marked) -> Iterator[Problem]:
    """What is wrong with a network by itself, or missing."""
    data = marked.data
    for key in ("serviceCIDR", "nodeCIDR"):
        if key in data:
            yield from _network(marked, (key,), data[key])
    for i, member in enumerate(data["clusters"]):
        if "serviceCIDR" not in data and "serviceCIDR" not in member:
            sentence = f"clusters[{i}] ({member['name']}) has no serviceCIDR, and neither has the fleet; add one"
            yield marked.problem(("clusters", i), sentence)
        for key in ("nodeCIDR", "podCIDR", "serviceCIDR"):
            if key in member:
                yield from _network(marked, ("clusters", i, key), member[key])


def _network(marked: Marked, route: Route, text: str) -> Iterator[Problem]:
    name = spell(route)
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        yield marked.problem(route, f"{name} {text} is no IPv4 network: write it like 10.101.0.0/24")
        return
    widest, narrowest, why = _PREFIXES[str(route[-1])]
    address, _, prefix = text.partition("/")
    if str(network.network_address) != address:
        yield marked.problem(route, f"{name} {text} has host bits set; write {network}")
    elif not widest <= int(prefix) <= narrowest:
        yield marked.problem(route, f"{name} {text} must be /{widest} to /{narrowest}; {why}")
    elif route[-1] == "podCIDR":
        workers = marked.data["clusters"][route[1]]["workers"]
        if (room := 2 ** (24 - network.prefixlen)) < workers:
            sentence = f"{name} {text} has room for {room} nodes with a /24 each, but workers is {workers}"
            yield marked.problem(route, sentence)


def meetings(marked: Marked) -> Iterator[Problem]:
    """Node and pod networks meet nothing; service networks may meet each other, because nobody routes them."""
    data = marked.data
    if data["provider"] == "existing":
        return
    taken = _TAKEN | (_TAKEN_EMBEDDED if data["provider"] == "embedded" else {})
    named: list[tuple[Route, IPv4Network, str]] = [
        ((key,), IPv4Network(data[key]), f"the fleet's {key}") for key in ("serviceCIDR", "nodeCIDR") if key in data
    ]
    for i, member in enumerate(data["clusters"]):
        named += [
            (("clusters", i, key), IPv4Network(member[key]), f"{member['name']}'s {key}")
            for key in ("nodeCIDR", "podCIDR", "serviceCIDR")
            if key in member
        ]
    named.sort(key=lambda entry: marked.values[entry[0]])
    for n, (route, network, _) in enumerate(named):
        for other, use in taken.items():
            if network.overlaps(other):
                yield marked.problem(route, f"{spell(route)} {network} overlaps {other}, {use}; choose another")
        for before, other, whose in named[:n]:
            services = route[-1] == before[-1] == "serviceCIDR"
            if network.overlaps(other) and not services:
                line = marked.line(before)
                sentence = f"{spell(route)} {network} overlaps {whose} {other} (line {line}); choose another"
                yield marked.problem(route, sentence)
