"""The pure part of the reference mesh: what is shared, what is merged, which rules follow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from meshproof.clusters.meshes.reference.balance import Balance, Offering
from meshproof.clusters.meshes.reference.merge import Frontend, Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Port, Record, RecordRefused, decode, encode
from meshproof.clusters.meshes.reference.ruleset import change, compile_rules, found
from meshproof.clusters.meshes.reference.world import World, read_world

GLOBAL = {"service.cilium.io/global": "true"}
UNSHARED = {**GLOBAL, "service.cilium.io/shared": "false"}
HTTP = ("http", "TCP", 80, 8080)

Ports = tuple[tuple[str, str, int, int], ...]
"""(name, protocol, port, target port)"""


def world(
    pod: str,
    annotations: Mapping[str, str] = GLOBAL,
    ports: Ports = (HTTP,),
    namespace: str = "shop",
    gate: Mapping[str, str] | None = None,
    **spec: Any,
) -> World:
    """A cluster with one Service `echo` and one ready pod; no pod when `pod` is empty."""
    service = {
        "metadata": {"namespace": namespace, "name": "echo", "annotations": dict(annotations)},
        "spec": {
            "clusterIP": "172.20.0.10",
            "ports": [{"name": n, "protocol": p, "port": number} for n, p, number, _ in ports],
            **spec,
        },
    }
    return read_world(
        [service],
        [piece(namespace, "echo", ports, [pod] if pod else [])],
        [{"metadata": {"name": namespace, "annotations": dict(gate or {})}}],
    )


def piece(namespace: str, service: str, ports: Ports, pods: list[str], ready: bool | None = True) -> Any:
    """An EndpointSlice."""
    return {
        "metadata": {"namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": n, "protocol": p, "port": target} for n, p, _, target in ports],
        "endpoints": [{"addresses": [pod], "conditions": {} if ready is None else {"ready": ready}} for pod in pods],
    }


def export(number: int, seen: World) -> dict[Key, Record]:
    return Offering().records(Pipeline(), Member(f"c{number}", number), seen)


def merge(seen: World, imported: Imported) -> tuple[Frontend, ...]:
    return Balance().frontends(Pipeline(), seen, imported)


def uses(worlds: list[World], of: int) -> list[set[str]]:
    """The backend addresses that cluster `of` (0-based) uses, a set per port."""
    imported = {f"c{n}": export(n, seen) for n, seen in enumerate(worlds) if n != of}
    return [{address for address, _ in frontend.backends} for frontend in merge(worlds[of], imported)]


def annotated(is_global: bool, is_shared: bool, prefix: str = "service.cilium.io/") -> dict[str, str]:
    return {f"{prefix}global": str(is_global).lower(), f"{prefix}shared": str(is_shared).lower()}


@pytest.mark.parametrize(("flags"), list(itertools.product([True, False], repeat=4)))
def test_two_clusters_follow_the_documented_flow_chart(flags: tuple[bool, bool, bool, bool]) -> None:
    """All sixteen combinations of global and shared give the endpoint sets of the flow chart, on both sides."""
    global1, shared1, global2, shared2 = flags
    worlds = [world("10.1.0.1", annotated(global1, shared1)), world("10.2.0.1", annotated(global2, shared2))]
    joined = global1 and global2
    assert uses(worlds, 0) == [{"10.1.0.1"} | ({"10.2.0.1"} if joined and shared2 else set())]
    assert uses(worlds, 1) == [{"10.2.0.1"} | ({"10.1.0.1"} if joined and shared1 else set())]


@pytest.mark.parametrize("flags", list(itertools.product([True, False], repeat=6)))
def test_three_clusters_use_the_union_of_every_other_that_shares(flags: tuple[bool, ...]) -> None:
    """A global service is answered by every cluster that is global and shared, and by nobody else's pods."""
    pods = [f"10.{n}.0.1" for n in range(3)]
    pairs = list(zip(flags[::2], flags[1::2], strict=True))
    worlds = [world(pod, annotated(*pair)) for pod, pair in zip(pods, pairs, strict=True)]
    for near in range(3):
        far = {pods[n] for n in range(3) if n != near and pairs[near][0] and all(pairs[n])}
        assert uses(worlds, near) == [{pods[near]} | far]


@pytest.mark.parametrize(
    ("annotations", "shared"),
    [
        ({}, False),
        ({"service.cilium.io/global": "TRUE"}, True),
        ({"io.cilium/global-service": "true"}, True),
        ({"service.cilium.io/global": "false", "io.cilium/global-service": "true"}, False),
        ({"service.cilium.io/global": "true", "io.cilium/global-service": "false"}, True),
        ({"service.cilium.io/shared": "true"}, False),
        ({**GLOBAL, "io.cilium/shared-service": "false"}, False),
        ({**GLOBAL, "service.cilium.io/shared": "true", "io.cilium/shared-service": "false"}, True),
        ({**GLOBAL, "service.cilium.io/shared": "false", "io.cilium/shared-service": "true"}, False),
    ],
)
def test_both_spellings_count_and_the_new_one_wins(annotations: dict[str, str], shared: bool) -> None:
    """Either spelling shares a service; where both are present the new key decides; shared alone is nothing."""
    assert bool(export(1, world("10.1.0.1", annotations))) is shared


def test_a_namespace_can_opt_out() -> None:
    """A namespace annotated as not global keeps its services at home, both ways; others take part by default."""
    closed = world("10.1.0.1", gate={"clustermesh.cilium.io/global": "false"})
    assert uses([closed, world("10.2.0.1")], 0) == [{"10.1.0.1"}]
    assert uses([closed, world("10.2.0.1")], 1) == [{"10.2.0.1"}]


def test_namespaces_are_never_merged() -> None:
    """The same service name in another namespace is another service."""
    assert uses([world("10.1.0.1", namespace="shop"), world("10.2.0.1", namespace="shop2")], 0) == [{"10.1.0.1"}]


def test_a_service_without_pods_of_its_own_is_answered_by_its_peers() -> None:
    """The local Service decides the address and port; the peer's target port is used and its ClusterIP never."""
    near, far = world(""), world("10.2.0.1", ports=(("http", "TCP", 8000, 9090),), clusterIP="172.20.9.9")
    (frontend,) = merge(near, {"c1": export(1, far)})
    assert (frontend.address, frontend.port.number) == ("172.20.0.10", 80)
    assert frontend.backends == (("10.2.0.1", 9090),)


@pytest.mark.parametrize(
    ("near", "far", "found"),
    [
        (("http", "TCP", 80, 8080), ("http", "TCP", 80, 8080), True),
        (("http", "TCP", 80, 8080), ("http", "TCP", 8000, 1234), True),
        (("http", "TCP", 80, 8080), ("web", "TCP", 80, 8080), False),
        (("http", "TCP", 80, 8080), ("http", "UDP", 80, 8080), False),
        (("http", "TCP", 80, 8080), ("", "TCP", 80, 8080), True),
        (("", "TCP", 80, 8080), ("http", "TCP", 80, 8080), True),
        (("http", "TCP", 80, 8080), ("", "UDP", 80, 8080), False),
    ],
)
def test_ports_match_by_name_and_protocol(near: Any, far: Any, found: bool) -> None:
    """A peer's port serves ours when name and protocol are equal; an unnamed port fits every name of its protocol."""
    assert uses([world("", ports=(near,)), world("10.2.0.1", ports=(far,))], 0) == [{"10.2.0.1"} if found else set()]


def test_ports_that_share_a_target_keep_their_peers() -> None:
    """Several ports on one target port each keep every backend (cilium/cilium#45109)."""
    ports: Ports = (("a", "TCP", 80, 80), ("b", "TCP", 8080, 80), ("c", "TCP", 8090, 80))
    assert uses([world("10.1.0.1", ports=ports), world("10.2.0.1", ports=ports)], 0) == [{"10.1.0.1", "10.2.0.1"}] * 3


def test_only_ready_endpoints_count_and_unknown_is_ready() -> None:
    """An endpoint is left out only when a slice says it is not ready."""
    slices = [
        piece("shop", "echo", (HTTP,), [pod], ready)
        for pod, ready in (("10.1.0.1", True), ("10.1.0.2", False), ("10.1.0.3", None))
    ]
    seen = World(world("").services, read_world([], slices, []).endpoints)
    assert uses([seen], 0) == [{"10.1.0.1", "10.1.0.3"}]
    assert set(export(1, seen)["shop", "echo"].backends) == {"10.1.0.1", "10.1.0.3"}


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName"}, {"clusterIP": "fd00::1"}])
def test_a_service_without_an_ipv4_address_of_its_own_is_left_alone(spec: dict[str, Any]) -> None:
    """Headless and ExternalName services are neither balanced nor shared."""
    seen = world("10.1.0.1", **spec)
    assert merge(seen, {}) == ()
    assert export(1, seen) == {}


def test_a_record_survives_its_journey() -> None:
    """What is decoded equals what was encoded."""
    (record,) = export(1, world("10.1.0.1", ports=(HTTP, ("dns", "UDP", 53, 5353)))).values()
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"backends": {"10.0.0.1 } ; flush ruleset": {"http": ["TCP", 80]}}},
        {"backends": {"10.0.0.1": {"http": ["TCP", "80 }"]}}},
        {"backends": {"10.0.0.1": {"http": ["ICMP", 80]}}},
        {"backends": {"10.0.0.1": {"http": ["TCP", 0]}}},
        {"backends": []},
        {"name": ""},
        {"ports": None},
    ],
)
def test_a_record_that_is_not_one_is_refused(change: dict[str, Any]) -> None:
    """Nothing a peer sends reaches the firewall unless it is an IPv4 address, a known protocol and a port."""
    (record,) = export(1, world("10.1.0.1")).values()
    with pytest.raises(RecordRefused):
        decode({**encode(record), **change})


def frontend(address: str, *backends: str) -> Frontend:
    hosts = tuple((backend, 8080) for backend in backends)
    return Frontend("shop", "echo", address, Port("http", "TCP", 80), hosts, frozenset(backends[:1]))


def test_equal_rules_need_no_transaction() -> None:
    """Nothing is written when nothing changed."""
    rules = compile_rules([frontend("172.20.0.10", "10.1.0.1"), frontend("172.20.0.11")])
    assert change(rules, rules) == ""


def test_a_change_touches_only_what_changed() -> None:
    """The transaction for one service does not mention another."""
    old = compile_rules([frontend("172.20.0.10", "10.1.0.1"), frontend("172.20.0.11", "10.1.0.2")])
    new = compile_rules([frontend("172.20.0.10", "10.1.0.1"), frontend("172.20.0.11", "10.1.0.2", "10.2.0.2")])
    assert "172.20.0.10" not in change(old, new)
    assert "10.2.0.2:8080" in change(old, new)


def test_a_service_that_lost_its_last_backend_is_refused() -> None:
    """Its chain stays where it is and refuses from now on: no element changes, which a packet could miss."""
    commands = change(compile_rules([frontend("172.20.0.10", "10.1.0.1")]), compile_rules([frontend("172.20.0.10")]))
    chain = "ip reference_mesh to_172.20.0.10_tcp_80"
    assert f"flush chain {chain}\nadd rule {chain} meta l4proto tcp reject with tcp reset\n" in commands
    assert "element ip reference_mesh services" not in commands


def test_a_table_that_was_found_is_changed_not_replaced() -> None:
    """Ports that stay keep their elements, ports that are gone lose them, and all rules are written anew."""
    listing = "\tset hairpin {\n\t\telements = { 10.1.0.1 . 10.1.0.1,\n\t\t\t 10.1.0.9 . 10.1.0.9 }\n\t}\n"
    listing += "\n\tchain to_172.20.0.10_tcp_80 {\n\t}\n\n\tchain to_172.20.0.9_udp_53 {\n\t}\n}\n"
    commands = change(found(listing), compile_rules([frontend("172.20.0.10", "10.1.0.1")])).splitlines()
    assert [line for line in commands if "element" in line] == [
        "delete element ip reference_mesh services { 172.20.0.9 . udp . 53 }",
        "delete element ip reference_mesh hairpin { 10.1.0.9 . 10.1.0.9 }",
    ]
    assert "flush chain ip reference_mesh to_172.20.0.10_tcp_80" in commands
    assert "flush chain ip reference_mesh leave" in commands
    assert not any("delete table" in line for line in commands)
