"""What a kind fleet is planned to be: names, addresses, kind's own configuration, routes and the mesh's objects."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from meshproof.clusters import fleetfile
from meshproof.clusters.kind import images, kubeconfigs, manifests, plan
from meshproof.clusters.kind.plan import Node

SPEC = fleetfile.load(fleetfile.FLEETS / "kind-two.yaml")
EAST, WEST = SPEC.clusters
NODES = (
    Node("east", "kind-two-east-control-plane", "10.111.0.2", "10.151.0.0/24"),
    Node("east", "kind-two-east-worker", "10.111.0.3", "10.151.1.0/24"),
    Node("west", "kind-two-west-control-plane", "10.111.0.4", "10.152.0.0/24"),
)
SECRETS = {name: name for name in ("ca.crt", "tls.crt", "tls.key", "api-ca.crt", "api.crt", "api.key")}


def objects() -> dict[tuple[str, str], dict[str, Any]]:
    made = manifests.mesh(EAST, {WEST: "10.111.0.4"}, NODES[:2], "10.111.0.2", SECRETS)
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in made}


def test_nodes_have_the_names_that_kind_gives_them() -> None:
    """The first node carries the control plane; kind leaves the first worker without a number."""
    three = replace(EAST, workers=4)
    assert plan.node_names(SPEC, three) == [
        "kind-two-east-control-plane",
        "kind-two-east-worker",
        "kind-two-east-worker2",
        "kind-two-east-worker3",
    ]
    assert plan.node_names(SPEC, replace(EAST, workers=1)) == [plan.control_plane(SPEC, EAST)]


@pytest.mark.parametrize("name", ["a", "kind-two", "x" * 32, "eleven-chars-and-a-dash"])
def test_the_bridge_has_a_name_that_the_kernel_takes(name: str) -> None:
    """A link has 15 characters at most, and does not end in a dash."""
    bridge = plan.bridge_name(replace(SPEC, name=name))
    assert len(bridge) <= plan.BRIDGE_MAX
    assert not bridge.endswith("-")


def test_all_nodes_stand_in_one_network() -> None:
    """The fleet's nodeCIDR is every member's, and no pod or service network touches it."""
    assert {cluster.node_cidr for cluster in SPEC.clusters} == {plan.network_of(SPEC)}
    nodes = IPv4Network(plan.network_of(SPEC))
    for cluster in SPEC.clusters:
        assert not nodes.overlaps(IPv4Network(cluster.pod_cidr))
        assert not nodes.overlaps(IPv4Network(cluster.service_cidr))


def test_kind_is_told_the_plan_and_leaves_the_network_to_us() -> None:
    """No CNI, no proxy, no taint, our images, and a kubelet that runs on old cgroups."""
    config = plan.kind_config(EAST)
    assert config["networking"] == {
        "disableDefaultCNI": True,
        "kubeProxyMode": "none",
        "podSubnet": EAST.pod_cidr,
        "serviceSubnet": EAST.service_cidr,
    }
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker"]
    documents = {d["kind"]: d for d in map(yaml.safe_load, config["kubeadmConfigPatches"])}
    assert documents["ClusterConfiguration"]["imageRepository"] == images.REPOSITORY
    assert documents["InitConfiguration"]["nodeRegistration"] == {"taints": []}
    assert "addon/coredns" in documents["InitConfiguration"]["skipPhases"]
    assert documents["KubeletConfiguration"]["failCgroupV1"] is False


def test_every_node_knows_the_way_to_the_pods_of_all_others() -> None:
    """A route for each other node, in whichever cluster, and none for a node's own pods."""
    lines = plan.routes(NODES[0], NODES, EAST)
    assert "route replace 10.151.1.0/24 via 10.111.0.3" in lines
    assert "route replace 10.152.0.0/24 via 10.111.0.4" in lines
    assert not [line for line in lines if line.startswith("route replace 10.151.0.0/24")]


def test_a_service_address_without_backends_leads_nowhere() -> None:
    """What comes from a pod is stopped; the node's own processes, turned after routing, are not."""
    lines = plan.routes(NODES[0], NODES, EAST)
    assert f"route replace blackhole 172.20.0.0/16 table {plan.ALONE_TABLE}" in lines
    rule = next(line for line in lines if line.startswith("rule add"))
    assert "from 10.151.0.0/24" in rule


def test_pods_keep_their_addresses() -> None:
    """The CNI takes the node's own range and translates nothing."""
    link = plan.cni_config(NODES[1])["plugins"][0]
    assert link["ipMasq"] is False
    assert link["ipam"]["ranges"] == [[{"subnet": "10.151.1.0/24"}]]


def test_every_node_has_a_configuration_of_the_agent() -> None:
    """One file for each node and one for the exporter; peers are dialled where their exporter listens."""
    data = objects()["Secret", "reference-mesh"]["stringData"]
    assert {name for name in data if name.endswith(".json")} == {
        "exporter.json",
        "agent-kind-two-east-control-plane.json",
        "agent-kind-two-east-worker.json",
    }
    agent = json.loads(data["agent-kind-two-east-worker.json"])
    assert agent["peers"] == [{"cluster": "west", "id": 2, "address": "10.111.0.4", "port": plan.MESH_PORT}]
    assert json.loads(data["exporter.json"])["listen"] == {"address": "10.111.0.2", "port": plan.MESH_PORT}


def test_the_agent_has_its_nodes_network_and_nothing_else_of_it() -> None:
    """Privileged for its rules, but no process, IPC or file namespace of the node, and one folder of its own."""
    pod = objects()["DaemonSet", "reference-mesh-agent"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert {"hostPID", "hostIPC", "shareProcessNamespace"}.isdisjoint(pod)
    paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert paths == [manifests.MEMORY]
    assert pod["containers"][0]["securityContext"] == {"privileged": True}


def test_other_files_make_other_pods() -> None:
    """A component runs with the files it was started with, so new ones replace it."""

    def mark(own: str) -> str:
        made = manifests.mesh(EAST, {}, NODES[:2], own, SECRETS)
        daemon_set = next(thing for thing in made if thing["kind"] == "DaemonSet")
        return str(daemon_set["spec"]["template"]["metadata"]["annotations"]["meshproof/files"])

    assert mark("10.111.0.2") == mark("10.111.0.2")
    assert mark("10.111.0.2") != mark("10.111.0.9")


def test_cluster_dns_stays_where_its_image_is() -> None:
    """CoreDNS runs our image, on the node of the control plane, at the address kubelets tell pods."""
    made = {thing["kind"]: thing for thing in manifests.dns(EAST)}
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == images.COREDNS
    assert pod["nodeSelector"] == manifests.CONTROL_PLANE
    assert made["Service"]["spec"]["clusterIP"] == "172.20.0.10"


def test_a_kubeconfig_has_the_clusters_own_name() -> None:
    """Cluster, user and context are called as the fleet file calls the member."""
    config = kubeconfigs.of("east", {"server": "https://127.0.0.1:1"}, {"token": "t"})
    assert {entry["name"] for key in ("clusters", "users", "contexts") for entry in config[key]} == {"east"}
    assert config["current-context"] == "east"
