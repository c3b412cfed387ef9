"""The phases that make a kind fleet: engine, images, network, clusters, nodes, routes, mesh, ready.

Each cluster of a fleet is worked on in a thread of its own; a phase ends when all have. Whatever a phase makes it makes
in place of what an earlier attempt left, so `--from` may begin anywhere.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import yaml

from meshproof.clusters.embedded import binaries, pki
from meshproof.clusters.fleet import ClusterSpec, EnvironmentUnfit, FleetSpec, Progress
from meshproof.clusters.kind import engine, gobuild, images, kubeconfigs, manifests, plan
from meshproof.clusters.kind.command import CommandFailed, run
from meshproof.clusters.kind.engine import Engine
from meshproof.clusters.kind.phases import Phase
from meshproof.clusters.kind.plan import Node

PHASES = ("engine", "images", "network", "clusters", "routes", "mesh", "ready")
LABEL = "meshproof.fleet"
"""On a Docker network of ours: the fleet's directory."""
KIND_LABEL = "io.x-k8s.kind.cluster"
CALL_SECONDS_MAX = 30.0
POLL_SECONDS = 0.25
MESH_USER = "meshproof:reference-mesh"

T = TypeVar("T")


class NotReady(Exception):
    """A phase's deadline passed; the message says what was last seen."""


class Bringup:
    """One fleet on its way up, in one directory."""

    def __init__(self, spec: FleetSpec, directory: Path, progress: Progress) -> None:
        self._spec = spec
        self._directory = directory
        self._progress = progress

    def phases(self) -> list[Phase]:
        """In order, with their deadlines; those of the first two are for a machine that has nothing yet."""
        steps = (
            *((900, self._engine), (1800, self._images), (30, self._network), (300, self._clusters)),
            *((90, self._routes), (120, self._mesh), (120, self._ready)),
        )
        return [Phase(name, seconds, run) for name, (seconds, run) in zip(PHASES, steps, strict=True)]

    # --- what runs it ---------------------------------------------------------------------------------------------

    def _engine(self, _: float) -> None:
        engine.obtain(self._progress)

    def _images(self, _: float) -> None:
        images.build(self._docker(), self._progress)

    def _network(self, _: float) -> None:
        docker, spec = self._docker(), self._spec
        remove_network(docker, self._directory)
        docker.docker(
            *("network", "create", "--driver=bridge", f"--subnet={plan.network_of(spec)}"),
            *(
                f"--label={LABEL}={self._directory}",
                "--opt",
                f"com.docker.network.bridge.name={plan.bridge_name(spec)}",
            ),
            plan.network_name(spec),
        )

    # --- clusters -------------------------------------------------------------------------------------------------

    def _clusters(self, deadline: float) -> None:
        docker = self._docker()
        remove_nodes(docker, self._directory)
        built, node_image = gobuild.find(self._progress), images.reference()
        environment = {**docker.environment(), "KIND_EXPERIMENTAL_DOCKER_NETWORK": plan.network_name(self._spec)}

        def create(cluster: ClusterSpec) -> None:
            own = self._directory / "kind" / cluster.name
            own.mkdir(mode=0o700, parents=True, exist_ok=True)
            config = own / "config.yaml"
            pki.write_secret(config, yaml.safe_dump(dict(plan.kind_config(cluster)), sort_keys=False).encode())
            run(
                [
                    *(str(built.kind), "create", "cluster", f"--name={plan.cluster_name(self._spec, cluster)}"),
                    *(f"--image={node_image}", f"--config={config}", f"--kubeconfig={own / 'kubeconfig'}"),
                    *("--retain", "--wait=0s"),
                ],
                seconds_max=deadline - time.monotonic(),
                environment=environment,
            )
            kubeconfigs.publish(cluster, own / "kubeconfig", self._directory)
            self._apply(cluster, manifests.dns(cluster))

        self._each(create)
        kubeconfigs.merge(self._spec, self._directory)

    def _routes(self, deadline: float) -> None:
        """Pods get addresses, and every node learns the way to the pods of every other, in whichever cluster."""
        docker = self._docker()
        nodes = tuple(node for nodes in self._each(lambda cluster: self._nodes(cluster, deadline)) for node in nodes)
        of = {cluster.name: cluster for cluster in self._spec.clusters}

        def equip(node: Node) -> None:
            lines = "\n".join(plan.routes(node, nodes, of[node.cluster])) + "\n"
            docker.docker("exec", node.name, "ip", "rule", "flush", "table", str(plan.ALONE_TABLE))
            docker.docker("exec", "--interactive", node.name, "ip", "-batch", "-", stdin=lines.encode())
            config = json.dumps(plan.cni_config(node)).encode()
            target = "/etc/cni/net.d/10-meshproof.conflist"
            docker.docker("exec", node.name, "mkdir", "-p", str(Path(target).parent))
            docker.docker("exec", "--interactive", node.name, "cp", "/dev/stdin", target, stdin=config)

        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(equip, nodes))
        self._each(
            lambda cluster: self._until(
                deadline, lambda: all(_ready_node(item) for item in self._items(cluster, "nodes")), cluster, "nodes"
            )
        )

    # --- mesh -----------------------------------------------------------------------------------------------------

    def _mesh(self, deadline: float) -> None:
        if self._spec.mesh != "reference":
            return
        nodes = {cluster.name: self._nodes(cluster, deadline) for cluster in self._spec.clusters}
        at = {
            cluster: next(n.address for n in nodes[cluster.name] if n.name == plan.control_plane(self._spec, cluster))
            for cluster in self._spec.clusters
        }
        place = self._directory / "pki" / "mesh"
        shutil.rmtree(place, ignore_errors=True)
        authority = pki.new_authority(place, "meshproof mesh")

        def install(cluster: ClusterSpec) -> None:
            name = f"{cluster.name}.mesh.meshproof"
            pair = authority.server(f"server-{cluster.name}", [name], [at[cluster]])
            secrets = {
                "ca.crt": authority.ca.read_text(),
                "tls.crt": pair.cert.read_text(),
                "tls.key": pair.key.read_text(),
                **self._api_user(cluster),
            }
            peers = {peer: address for peer, address in at.items() if peer != cluster}
            self._apply(cluster, manifests.mesh(cluster, peers, nodes[cluster.name], at[cluster], secrets))

        self._each(install)

    def _api_user(self, cluster: ClusterSpec) -> dict[str, str]:
        """A client certificate for the mesh, issued by kubeadm on the node that has the cluster's authority."""
        issued = self._docker().docker(
            *("exec", plan.control_plane(self._spec, cluster)),
            *("kubeadm", "kubeconfig", "user", f"--client-name={MESH_USER}", "--config=/kind/kubeadm.conf"),
        )
        return kubeconfigs.files(yaml.safe_load(issued))

    def _ready(self, deadline: float) -> None:
        def settled(cluster: ClusterSpec) -> None:
            self._until(deadline, lambda: self._dns_ready(cluster), cluster, "CoreDNS")
            if self._spec.mesh == "reference":
                self._until(deadline, lambda: self._mesh_synced(cluster), cluster, "the mesh")

        self._each(settled)

    def _dns_ready(self, cluster: ClusterSpec) -> bool:
        found = self._get(cluster, "deployment", "coredns")
        return int(found.get("status", {}).get("readyReplicas", 0)) >= 1

    def _mesh_synced(self, cluster: ClusterSpec) -> bool:
        said = self._get(cluster, "configmap", "reference-mesh-status").get("data") or {}
        peers = {peer.name for peer in self._spec.clusters if peer != cluster}
        for node in plan.node_names(self._spec, cluster):
            agent = json.loads(said.get(f"agent-{node}", "{}")).get("peers", {})
            if {name for name, peer in agent.items() if peer.get("synced")} != peers:
                return False
        return "exporter" in said

    # --- what they are made of ------------------------------------------------------------------------------------

    def _docker(self) -> Engine:
        found = engine.running()
        if found is None:
            raise EnvironmentUnfit("no Docker Engine answers any more; run it again from phase engine")
        return found

    def _each(self, work: Callable[[ClusterSpec], T]) -> list[T]:
        with ThreadPoolExecutor(len(self._spec.clusters)) as pool:
            return list(pool.map(work, self._spec.clusters))

    def _nodes(self, cluster: ClusterSpec, deadline: float) -> tuple[Node, ...]:
        """All nodes of a cluster, once each has an address and a pod network."""

        def read() -> tuple[Node, ...]:
            found = (_node(cluster, item) for item in self._items(cluster, "nodes"))
            return tuple(node for node in found if node.address and node.pod_cidr)

        self._until(deadline, lambda: len(read()) == cluster.workers, cluster, "node addresses and pod networks")
        return read()

    def _until(self, deadline: float, condition: Callable[[], bool], cluster: ClusterSpec, what: str) -> None:
        last = "not yet"
        while True:
            try:
                if condition():
                    return
            except CommandFailed as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise NotReady(f"{cluster.name}: {what} not ready in time; last seen: {last}")
            time.sleep(POLL_SECONDS)

    def _get(self, cluster: ClusterSpec, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl(cluster, "get", kind, name, "--ignore-not-found") or "{}")
        return found

    def _items(self, cluster: ClusterSpec, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl(cluster, "get", kind))["items"])

    def kubectl(self, cluster: ClusterSpec, *arguments: str, stdin: bytes = b"") -> str:
        """In kube-system, as JSON where something is printed."""
        found = binaries.find(self._progress)
        own = [f"--kubeconfig={self._directory / 'kubeconfig' / cluster.name}", "--namespace=kube-system"]
        output = ["--output=json"] if arguments[0] == "get" else []
        return run([str(found.kubectl), *own, *arguments, *output], seconds_max=CALL_SECONDS_MAX, stdin=stdin)

    def _apply(self, cluster: ClusterSpec, objects: list[dict[str, Any]]) -> None:
        text = yaml.safe_dump_all(objects).encode()
        self.kubectl(cluster, "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)


def _node(cluster: ClusterSpec, item: dict[str, Any]) -> Node:
    address = next((a["address"] for a in item["status"].get("addresses", ()) if a["type"] == "InternalIP"), "")
    return Node(cluster.name, item["metadata"]["name"], address, item["spec"].get("podCIDR", ""))


def _ready_node(item: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions", ()))


def network_of(docker: Engine, directory: Path) -> list[str]:
    """The ids of the networks that were made for the fleet in `directory`."""
    return docker.docker("network", "ls", "--quiet", f"--filter=label={LABEL}={directory}").split()


def nodes_of(docker: Engine, directory: Path) -> list[str]:
    """The names of the containers on the fleet's own network that kind made: the fleet's nodes, and nobody else's."""
    found: list[str] = []
    for network in network_of(docker, directory):
        filters = [f"--filter=network={network}", f"--filter=label={KIND_LABEL}"]
        found += docker.docker("ps", "--all", "--format={{.Names}}", *filters).split()
    return sorted(found)


def remove_nodes(docker: Engine, directory: Path) -> None:
    if found := nodes_of(docker, directory):
        docker.docker("rm", "--force", "--volumes", *found, seconds_max=120)


def remove_network(docker: Engine, directory: Path) -> None:
    remove_nodes(docker, directory)
    for network in network_of(docker, directory):
        docker.docker("network", "rm", network)
