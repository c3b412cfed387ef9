"""Whether what was rendered for each cluster makes one mesh: who they are, what they share, how they find each other.

Each check reads the rendered objects of all clusters, compares them with the fleet and with one another, and yields a
sentence for each thing amiss; nothing yielded means they agree. It looks at what the chart made of our values, so a
key that a chart silently ignores is found here. Certificates: see `trust`. Nothing here says that traffic flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import yaml

from meshproof.clusters.fleet import ClusterSpec, FleetSpec
from meshproof.clusters.meshes.cilium.placement import Placed
from meshproof.clusters.meshes.cilium.rendered import Rendered
from meshproof.clusters.meshes.cilium.trust import one_trust

OWN = frozenset({"cluster-name", "cluster-id"})
"""The flags that differ from member to member; every other flag must be the same everywhere."""
API_SERVER = "clustermesh-apiserver"
_EXPECTED = {"routing-mode": "native", "ipam": "kubernetes", "kube-proxy-replacement": "true"}


@dataclass(frozen=True, slots=True)
class Mesh:
    """A fleet, the addresses of its nodes, the images it should run, and what was rendered, each by cluster."""

    spec: FleetSpec
    nodes: Mapping[str, tuple[str, ...]]
    images: tuple[Placed, ...]
    rendered: Mapping[str, Rendered]

    def members(self) -> Iterator[tuple[ClusterSpec, Rendered]]:
        for cluster in self.spec.clusters:
            yield cluster, self.rendered[cluster.name]

    def peers(self, cluster: ClusterSpec) -> list[ClusterSpec]:
        return [peer for peer in self.spec.clusters if peer.name != cluster.name]

    def port(self, cluster: ClusterSpec) -> int:
        """The node port on which this cluster's own rendering serves its peers; 0 when it serves none."""
        service = self.rendered[cluster.name].find("Service", API_SERVER).get("spec") or {}
        ports = service.get("ports") or [{}]
        return int(ports[0].get("nodePort") or 0) if service.get("type") == "NodePort" else 0


def disagreements(mesh: Mesh) -> list[str]:
    """Everything amiss, one sentence each; empty when the rendered clusters are one mesh."""
    return [f"{name}: {sentence}" for name, check in CHECKS.items() for sentence in check(mesh)]


def one_identity_each(mesh: Mesh) -> Iterator[str]:
    """Every cluster has its own name and id, as the fleet says."""
    for cluster, rendered in mesh.members():
        config = rendered.config()
        said = (config.get("cluster-name"), config.get("cluster-id"))
        if said != (cluster.name, str(cluster.id)):
            yield f"{cluster.name} says it is {said[0]} with id {said[1]}; the fleet says id {cluster.id}"


def one_configuration(mesh: Mesh) -> Iterator[str]:
    """Every flag but name and id has the same value in every cluster."""
    (first, model), *others = mesh.members()
    for cluster, rendered in others:
        ours, theirs = rendered.config(), model.config()
        for flag in sorted((set(ours) | set(theirs)) - OWN):
            if ours.get(flag) != theirs.get(flag):
                yield f"{flag} is {theirs.get(flag)} in {first.name} and {ours.get(flag)} in {cluster.name}"


def flat_network(mesh: Mesh) -> Iterator[str]:
    """Pods are routed natively, keep their addresses between clusters, and get them from Kubernetes."""
    for cluster, rendered in mesh.members():
        config = rendered.config()
        for flag, value in _EXPECTED.items():
            if config.get(flag) != value:
                yield f"{flag} is {config.get(flag)} in {cluster.name}, not {value}"
        network = IPv4Network(config.get("ipv4-native-routing-cidr") or "0.0.0.0/32")
        for member in mesh.spec.clusters:
            if not IPv4Network(member.pod_cidr).subnet_of(network):
                yield f"{cluster.name} hides its pods from {member.name}'s: {network} lacks {member.pod_cidr}"
            if IPv4Network(member.node_cidr).overlaps(network):
                yield f"{cluster.name} shows its pods to {member.name}'s node network, which {network} covers"


def namespaces_as_profiled(mesh: Mesh) -> Iterator[str]:
    """Namespaces are global by default in the profile cilium, and local in aks-fleet."""
    wanted = "false" if mesh.spec.profile == "aks-fleet" else "true"
    for cluster, rendered in mesh.members():
        if (said := rendered.config().get("clustermesh-default-global-namespace", "true")) != wanted:
            yield f"namespaces of {cluster.name} are global by default: {said}; {mesh.spec.profile} means {wanted}"


def own_node_ports(mesh: Mesh) -> Iterator[str]:
    """Every cluster serves its peers on a node port that no other cluster uses (cilium#24692)."""
    taken: dict[int, str] = {}
    for cluster, _ in mesh.members():
        port = mesh.port(cluster)
        if not port:
            yield f"{cluster.name} has no node port for its peers"
        elif (holder := taken.setdefault(port, cluster.name)) != cluster.name:
            yield f"{cluster.name} and {holder} both serve their peers on node port {port}"


def everybody_knows_everybody(mesh: Mesh) -> Iterator[str]:
    """Agents ask their own mesh API server, which asks each peer at its nodes' addresses and its node port."""
    for cluster, rendered in mesh.members():
        expected = {peer.name for peer in mesh.peers(cluster)}
        for name in ("cilium-clustermesh", "cilium-kvstoremesh"):
            known = set(rendered.secret(name))
            if known != expected:
                yield f"secret {name} of {cluster.name} knows {_listed(known)}; its peers are {_listed(expected)}"
        agents, mirror = rendered.secret("cilium-clustermesh"), rendered.secret("cilium-kvstoremesh")
        for peer in mesh.peers(cluster):
            local = f"https://{API_SERVER}.kube-system.svc:2379"
            if peer.name in agents and (said := _endpoints(agents[peer.name])) != [local]:
                yield f"the agents of {cluster.name} look for {peer.name} at {_listed(said)}, not at {local}"
            if peer.name in mirror:
                yield from _dialled(mesh, cluster, peer, mirror[peer.name])


def everybody_is_let_in(mesh: Mesh) -> Iterator[str]:
    """Where a cluster keeps a list of users, each of its peers is on it, and nobody else."""
    for cluster, rendered in mesh.members():
        text = (rendered.find("ConfigMap", "clustermesh-remote-users").get("data") or {}).get("users.yaml")
        if text is None:  # the chart's legacy mode, 1.18's default: one user for all peers
            continue
        users = {user["name"] for user in yaml.safe_load(text)["users"] or []}
        expected = {f"remote-{peer.name}" for peer in mesh.peers(cluster)}
        if users != expected:
            yield f"{cluster.name} lets in {_listed(users)}; its peers are {_listed(expected)}"


def locked_images(mesh: Mesh) -> Iterator[str]:
    """The images rendered are those of the lock, as they were placed: none more, none less."""
    expected = {placed.reference for placed in mesh.images}
    for cluster, rendered in mesh.members():
        seen = rendered.images()
        yield from (f"{cluster.name} would run {image}, which is not in the lock" for image in sorted(seen - expected))
        yield from (f"{cluster.name} would not run {image} of the lock" for image in sorted(expected - seen))


def trusted(mesh: Mesh) -> Iterator[str]:
    """Every certificate of every cluster is signed by the one authority, and outlived by it."""
    yield from one_trust(mesh.rendered)


CHECKS: Mapping[str, Callable[[Mesh], Iterator[str]]] = {
    "identity": one_identity_each,
    "configuration": one_configuration,
    "network": flat_network,
    "namespaces": namespaces_as_profiled,
    "node ports": own_node_ports,
    "peers": everybody_knows_everybody,
    "users": everybody_is_let_in,
    "trust": trusted,
    "images": locked_images,
}


def _dialled(mesh: Mesh, cluster: ClusterSpec, peer: ClusterSpec, config: bytes) -> Iterator[str]:
    """Whether `cluster` dials `peer` where the peer's own rendering serves."""
    name = f"{peer.name}.mesh.cilium.io"
    wanted = f"https://{name}:{mesh.port(peer)}"
    if (said := _endpoints(config)) != [wanted]:
        yield f"{cluster.name} dials {peer.name} at {_listed(said)}; {peer.name} serves at {wanted}"
    pod = mesh.rendered[cluster.name].find("Deployment", API_SERVER)
    aliases = pod.get("spec", {}).get("template", {}).get("spec", {}).get("hostAliases") or []
    known = {alias["ip"] for alias in aliases if name in alias["hostnames"]}
    if known != set(mesh.nodes[peer.name]):
        yield f"{cluster.name} takes {_listed(known)} for {peer.name}; its nodes are {_listed(mesh.nodes[peer.name])}"


def _endpoints(config: bytes) -> list[str]:
    content: Any = yaml.safe_load(config) or {}
    return list(content.get("endpoints") or [])


def _listed(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "nobody"
