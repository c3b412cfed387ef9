"""Addresses and names of an embedded fleet: each is had by one host only, whatever the clusters are called."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import addresses
from meshproof.clusters.embedded.fabric import LINK_NAME_MAX, link_name
from meshproof.clusters.embedded.nodeagent import sandbox
from meshproof.clusters.fleet import ClusterSpec, FleetSpec

BUILT_IN = {name: fleetfile.load(fleetfile.resolve(name)) for name in fleetfile.built_in()}
EMBEDDED = {name: spec for name, spec in BUILT_IN.items() if spec.provider == "embedded"}
LONGEST = "a" * 31 + "b"
AWKWARD = ("a", "a-1", "a-1-1", "a-cp", "a-mesh", "mesh", "cp", "outside", "host", "1", "a-p", "p", LONGEST, "a" * 32)


def fleet(*names: str, workers: int = 2) -> FleetSpec:
    clusters = tuple(
        ClusterSpec(name, number, workers, f"10.{number}.0.0/24", f"10.{100 + number}.0.0/16", "172.20.0.0/16")
        for number, name in enumerate(names, start=1)
    )
    return FleetSpec("f", "embedded", "reference", "cilium", clusters, Path("f.yaml"))


def hosts(spec: FleetSpec) -> dict[str, list[str]]:
    """Address -> the namespaces that have it."""
    found: dict[str, list[str]] = {addresses.OUTSIDE_ADDRESS: [addresses.OUTSIDE]}
    for cluster in spec.clusters:
        own = [
            (addresses.control_plane_address(cluster), addresses.control_plane_namespace(cluster)),
            (addresses.mesh_address(cluster), addresses.mesh_namespace(cluster)),
            *((addresses.node_address(cluster, node), node) for node in addresses.node_names(cluster)),
        ]
        for address, namespace in own:
            found.setdefault(address, []).append(namespace)
    return found


@pytest.mark.parametrize(
    "spec",
    [*EMBEDDED.values(), fleet(*AWKWARD, workers=154)],
    ids=[*EMBEDDED, "awkward"],
)
def test_every_host_has_a_name_an_address_and_a_link_of_its_own(spec: FleetSpec) -> None:
    """No two hosts of a fleet share a namespace, an address or a link name, and no link name is too long."""
    found = hosts(spec)
    names = [name for those in found.values() for name in those]
    links = [link_name(name) for name in names]
    assert len(found) == len(names) == len(set(names)) == len(set(links))
    assert max(map(len, links)) <= LINK_NAME_MAX
    assert "host" not in links


def test_no_address_of_a_cluster_lies_outside_its_networks() -> None:
    """Also with the most nodes there may be: the last stands at .254, and none is the gateway."""
    [cluster] = fleet(LONGEST, workers=154).clusters
    network = IPv4Network(cluster.node_cidr)
    taken = {IPv4Address(addresses.node_address(cluster, node)) for node in addresses.node_names(cluster)}
    taken |= {IPv4Address(addresses.control_plane_address(cluster)), IPv4Address(addresses.mesh_address(cluster))}
    assert len(taken) == 156
    assert all(address in network for address in taken)
    assert max(taken) == network[254]
    assert IPv4Address(addresses.gateway(cluster)) not in taken


def test_the_places_that_a_person_may_rely_on() -> None:
    """The addresses that the design names, for the fleet that comes with meshproof."""
    east = fleetfile.load(fleetfile.resolve("two")).clusters[0]
    assert addresses.api_server(east) == "https://10.101.0.10:6443"
    assert addresses.mesh_address(east) == "10.101.0.20"
    assert [addresses.node_address(east, node) for node in ("east-1", "east-2")] == ["10.101.0.101", "10.101.0.102"]
    assert addresses.kubernetes_service_address(east) == "172.20.0.1"
    assert addresses.dns_service_address(east) == "172.20.0.10"
    assert addresses.control_plane_namespace(east) == "east-cp"


def test_a_node_of_another_cluster_has_no_address() -> None:
    """Asking one cluster for another's node is an error, not a wrong address."""
    east, _ = fleetfile.load(fleetfile.resolve("two")).clusters
    with pytest.raises(ValueError, match="west-1"):
        addresses.node_address(east, "west-1")


@pytest.mark.parametrize("name", ["east-1", "thirteen-char", "fourteen-chars", LONGEST + "-154"])
def test_a_link_name_is_plain_while_it_fits(name: str) -> None:
    """A person finds a short host's link by name; a long one's is as stable, and cannot be a short one's."""
    link = link_name(name)
    assert len(link) <= LINK_NAME_MAX
    assert (link == f"v-{name}") == (len(name) <= 13)
    assert link.startswith("v-") == (len(name) <= 13)


def test_a_pods_link_fits_for_the_longest_cluster_name() -> None:
    """A pod's link is named by its hash alone, so a cluster's name cannot make it too long."""
    name = sandbox.name_for(LONGEST, "b6a1e7c2-0000-4000-8000-000000000000")
    assert len(sandbox.Sandbox(name, f"{LONGEST}-1", "10.1.0.2", "10.1.0.1").link) <= LINK_NAME_MAX
