"""The values of each cluster: what they say, what they refuse, and that they fit together whatever the fleet."""

from __future__ import annotations

import base64
import stat
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit, FleetSpec
from meshproof.clusters.meshes.cilium import authority, rendering, strict
from meshproof.clusters.meshes.cilium.addressing import native_network, node_port, strangers
from meshproof.clusters.meshes.cilium.lock import lock
from meshproof.clusters.meshes.cilium.placement import place
from meshproof.clusters.meshes.cilium.values import Reach, cluster_values
from meshproof.fidelity import on_paper
from tests.paper_chart import fleet, plan

NEWEST = lock().default


def values(spec: FleetSpec, version: str = "1.20", reach: Mapping[str, Reach] | None = None) -> dict[str, Any]:
    return cluster_values(spec, spec.clusters[0], {**on_paper(spec), **(reach or {})}, lock().release(version))


def with_pods(*cidrs: str, services: str = "172.20.0.0/16") -> list[ClusterSpec]:
    return [ClusterSpec(f"c{n}", n, 1, f"10.{100 + n}.0.0/24", cidr, services) for n, cidr in enumerate(cidrs, start=1)]


def test_the_values_of_one_cluster_say_all_of_it() -> None:
    """A member's values are this, and no key more."""
    assert values(fleet()) == {
        "cluster": {"name": "east", "id": 1},
        "ipam": {"mode": "kubernetes"},
        "routingMode": "native",
        "autoDirectNodeRoutes": True,
        "ipv4NativeRoutingCIDR": "10.140.0.0/14",
        "kubeProxyReplacement": "true",
        "bpf": {"masquerade": True},
        "k8sServiceHost": "10.101.0.1",
        "k8sServicePort": 6443,
        "clustermesh": {
            "useAPIServer": True,
            "apiserver": {"service": {"type": "NodePort", "nodePort": 32380}, "kvstoremesh": {"enabled": True}},
            "config": {"enabled": True, "clusters": {"west": {"ips": ["10.102.0.101"], "port": 32381}}},
        },
    }


def test_the_oldest_line_gets_its_peers_as_a_list() -> None:
    """1.18's schema refuses the map that later charts advise."""
    peers = values(fleet("three"), version="1.18")["clustermesh"]["config"]["clusters"]
    assert [peer["name"] for peer in peers] == ["west", "north"]
    assert set(values(fleet("three"), version="1.19")["clustermesh"]["config"]["clusters"]) == {"west", "north"}


def test_the_fleet_like_profile_needs_its_line() -> None:
    """Namespaces are local by default where the chart can do it, and refused where it cannot."""
    spec = replace(fleet(), profile="aks-fleet")
    assert values(spec)["clustermesh"]["defaultGlobalNamespace"] is False
    with pytest.raises(EnvironmentUnfit, match=r"aks-fleet needs .* 1\.19\.6 has none: use 1\.20$"):
        values(spec, version="1.19")
    with pytest.raises(EnvironmentUnfit, match="no settings for the profile news"):
        values(replace(fleet(), profile="news"))


def test_an_image_is_named_only_where_it_moved() -> None:
    """The chart's own references stay the chart's; a mirror or an override is written out whole."""
    spec = fleet()
    reach, east = on_paper(spec), spec.clusters[0]
    assert cluster_values(spec, east, reach, NEWEST, place(NEWEST)) == values(spec)
    moved = cluster_values(spec, east, reach, NEWEST, place(NEWEST, overrides={"envoy": "registry.example/e:1"}))
    assert moved == {**values(spec), "envoy": {"image": {"override": "registry.example/e:1"}}}


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        ({"east": Reach((), "h", 1)}, "no node address of east is known"),
        ({"east": Reach(("fe80::1",), "h", 1)}, "'fe80::1', a node of east, is no IPv4 address"),
        ({"west": Reach(("10.101.0.101",), "h", 1)}, "10.101.0.101 is said to be a node of east and of west"),
        ({"nord": Reach(("10.9.0.1",), "h", 1)}, "fleet two has no cluster nord; it has east, west"),
        ({"west": Reach(("10.143.0.7",), "h", 1)}, "10.140.0.0/14, which also covers 10.143.0.7/32, a node;"),
    ],
)
def test_a_fleet_that_cannot_be_reached_is_refused(reach: Mapping[str, Reach], says: str) -> None:
    """Missing, wrong, doubled, unknown and masqueraded node addresses get a sentence each."""
    with pytest.raises(EnvironmentUnfit) as refused:
        values(fleet(), reach=reach)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("clusters", "network"),
    [
        (with_pods("10.141.0.0/16", "10.142.0.0/16"), "10.140.0.0/14"),
        (with_pods("10.240.0.0/16", "10.242.0.0/16", "10.244.0.0/16"), "10.240.0.0/13"),
        (with_pods("192.168.0.0/24", "192.168.1.0/24"), "192.168.0.0/23"),
        (with_pods("10.240.0.0/16", "10.242.0.0/16", services="10.241.0.0/16"), "10.240.0.0/14"),
        (with_pods("100.64.0.0/16", "100.65.0.0/16"), "100.64.0.0/15"),
    ],
)
def test_the_native_routing_network_is_the_smallest_that_holds_all_pods(
    clusters: list[ClusterSpec], network: str
) -> None:
    """It may cover services, which are translated before anything is routed."""
    assert str(native_network(clusters)) == network


@pytest.mark.parametrize(
    ("clusters", "says"),
    [
        (with_pods("10.141.0.0/16", "192.168.0.0/16"), "is 0.0.0.0/0, which is not within one private block"),
        (
            with_pods("172.16.0.0/16", "172.32.0.0/16"),
            "which is not within one private block (10.0.0.0/8, 172.16.0.0/12",
        ),
        (with_pods("10.64.0.0/16", "10.110.0.0/16"), "is 10.64.0.0/10, which also covers 10.101.0.0/24, nodes of c1"),
    ],
)
def test_pods_strewn_too_widely_are_refused(clusters: list[ClusterSpec], says: str) -> None:
    """What the network would cover beside pods decides, and the refusal names it."""
    with pytest.raises(EnvironmentUnfit) as refused:
        native_network(clusters)
    assert says in str(refused.value)
    assert "c1" in str(refused.value)


@given(st.lists(st.integers(128, 191), min_size=2, max_size=8, unique=True))
def test_pods_and_strangers_fill_the_network_exactly(numbers: list[int]) -> None:
    """Whatever the fleet, the network has every pod, and everything else in it is named."""
    clusters = with_pods(*(f"10.{number}.0.0/16" for number in numbers))
    network = native_network(clusters)
    pods = [IPv4Network(cluster.pod_cidr) for cluster in clusters]
    assert all(part.subnet_of(network) for part in pods)
    parts = [*pods, *strangers(network, clusters)]
    assert sum(part.num_addresses for part in parts) == network.num_addresses
    assert not any(a.overlaps(b) for n, a in enumerate(parts) for b in parts[:n])


def test_every_id_has_a_node_port_of_its_own_in_the_usual_range() -> None:
    """Ids 1 to 255 fit between 30000 and 32767, and none has the chart's default."""
    ports = [node_port(ClusterSpec("c", id, 1, "", "", "")) for id in range(1, 256)]
    assert len(set(ports)) == 255
    assert 32379 not in ports
    assert all(30000 <= port <= 32767 for port in ports)


def test_every_cluster_gets_the_same_authority_and_its_key_stays_private(tmp_path: Path) -> None:
    """One file with the key, 0600, used again by the next cluster; no other file has it."""
    first = rendering.write(plan(fleet()), tmp_path / "out")
    key = (tmp_path / "out/authority/ca.key").read_bytes()
    again = rendering.write(plan(fleet()), tmp_path / "out")
    assert first == again
    assert (tmp_path / "out/authority/ca.key").read_bytes() == key
    assert {files[0] for files in first.values()} == {tmp_path / "out/authority.yaml"}
    secret = [file for file in (tmp_path / "out").rglob("*") if file.is_file() and has_key(file, key)]
    assert sorted(file.name for file in secret) == ["authority.yaml", "ca.key"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in secret] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def has_key(file: Path, key: bytes) -> bool:
    content = file.read_bytes()
    return key in content or base64.b64encode(key) in content


def test_half_an_authority_is_refused(tmp_path: Path) -> None:
    """A key without its certificate is never replaced: some cluster may have the other half."""
    authority.keep(tmp_path / "ca", "two").certificate.unlink()
    with pytest.raises(EnvironmentUnfit, match=r"holds no ca\.crt and ca\.key"):
        authority.keep(tmp_path / "ca", "two")


def test_the_authority_outlives_what_charts_sign(tmp_path: Path) -> None:
    """The charts sign for 1095 days at most, by their defaults."""
    files = authority.keep(tmp_path / "ca", "two")
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days > 1095


def test_nothing_is_written_for_a_fleet_that_is_refused(tmp_path: Path) -> None:
    """A refusal comes before the first file."""
    refused = replace(plan(fleet()), reach={})
    with pytest.raises(EnvironmentUnfit):
        rendering.write(refused, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"b": {"type": "integer"}}},
        "clustermesh": {"type": "object"},
    },
}


@pytest.mark.parametrize(
    ("given_values", "says"),
    [
        ({"a": {"b": 1}}, []),
        ({"a": {"c": {"d": 1}}}, []),
        ({"clustermesh": {"config": {"clusters": {"west": {"anything": 1}}}}}, []),
        ({"a": {"b": "1"}}, ["a.b: '1' is not of type 'integer'"]),
        ({"a": {"bb": 1}}, ["a.bb is no key of this chart; did you mean b?"]),
        ({"a": {"c": {"e": 1}}}, ["a.c.e is no key of this chart"]),
        ({"z": {}}, ["z is no key of this chart"]),
        (
            {"clustermesh": {"config": {"cluster": {}}}},
            ["clustermesh.config.cluster is no key of this chart; did you mean clusters?"],
        ),
    ],
)
def test_a_key_the_chart_does_not_know_is_found(given_values: dict[str, Any], says: list[str]) -> None:
    """A key must stand in the schema or in the chart's own values, except where the chart is free."""
    defaults = {"a": {"c": {"d": 0}}, "clustermesh": {"config": {"clusters": []}}}
    assert strict.faults(given_values, SCHEMA, defaults) == says
