"""The steps that make one cluster of an embedded fleet: credentials, control plane, nodes, DNS, mesh, in this order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import addresses, controlplane, manifests, pki, preflight
from meshproof.clusters.embedded.binaries import Binaries
from meshproof.clusters.embedded.processes import Keeper, Program
from meshproof.clusters.fleet import ClusterSpec, FleetSpec
from meshproof.clusters.rest import Api, ApiError

POLL_SECONDS = 0.05
GO = {"GOMAXPROCS": "2", "GOGC": "400"}
"""Two threads of work, and memory for processor time: the suite on three clusters takes 7 % less of it, and each API
server 520 MB while it runs."""
NODE_MANIFESTS = Path(__file__).parent / "manifests"
MESH_MANIFESTS = Path(__file__).parents[1] / "meshes" / "reference" / "manifests.yaml"


class NotReady(Exception):
    """A step did not finish in time; the message says which and what was last seen."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every cluster's bring-up shares."""

    spec: FleetSpec
    directory: Path
    binaries: Binaries
    mesh_authority: pki.Authority
    keeper: Keeper
    step: Callable[[str], None]


def cluster(context: Context, cluster: ClusterSpec, seconds_max: float) -> None:
    """Bring one cluster up and wait until it is ready. Raises NotReady, ApiError or OSError."""
    deadline = time.monotonic() + seconds_max
    credentials = controlplane.issue(cluster, context.directory / "pki" / cluster.name)
    _write_kubeconfigs(context, cluster, credentials)
    _start_control_plane(context, cluster, credentials)
    api = api_of(cluster, credentials.authority, credentials.admin)
    _until(
        deadline, api.ready, f"{cluster.name}: kube-apiserver is not ready; see logs/{cluster.name}/kube-apiserver.log"
    )
    # Ready does not include the system namespaces, which a controller of the API server makes by and by.
    system = "/api/v1/namespaces/kube-system"
    _until(deadline, lambda: bool(api.get(system)), f"{cluster.name}: there is no namespace kube-system")
    context.step(f"{cluster.name} api")
    _start_controllers(context, cluster, credentials)
    manifests.create(api, manifests.load(NODE_MANIFESTS / "node-agent.yaml"))
    _start_node_agent(context, cluster, credentials)
    manifests.create(api, _dns(cluster))
    if context.spec.mesh == "reference":
        manifests.create(api, manifests.load(MESH_MANIFESTS))
        _start_mesh(context, cluster, credentials)
    _until(deadline, lambda: _nodes_ready(api, cluster), f"{cluster.name}: not every node is Ready")
    context.step(f"{cluster.name} nodes")
    if context.spec.mesh == "reference":
        _until(
            deadline, lambda: _mesh_ready(context, api, cluster), f"{cluster.name}: the mesh is not synced everywhere"
        )
        context.step(f"{cluster.name} mesh")
    _until(deadline, lambda: _dns_ready(api), f"{cluster.name}: CoreDNS is not ready")
    context.step(f"{cluster.name} dns")


def api_of(cluster: ClusterSpec, authority: pki.Authority, user: pki.Pair) -> Api:
    return Api(addresses.api_server(cluster), str(authority.ca), str(user.cert), str(user.key))


def _write_kubeconfigs(context: Context, cluster: ClusterSpec, credentials: controlplane.Credentials) -> None:
    def config(user: pki.Pair) -> dict[str, Any]:
        return controlplane.kubeconfig(cluster, credentials.authority, user)

    public = context.directory / "kubeconfig"
    public.mkdir(mode=0o700, exist_ok=True)
    controlplane.write_kubeconfig(public / cluster.name, config(credentials.admin))
    own = credentials.authority.directory
    for name, user in (
        ("kube-controller-manager", credentials.controller_manager),
        ("kube-scheduler", credentials.scheduler),
    ):
        controlplane.write_kubeconfig(own / f"{name}.kubeconfig", config(user))


def _start_control_plane(context: Context, cluster: ClusterSpec, credentials: controlplane.Credentials) -> None:
    data = context.directory / "scratch" / cluster.name / "etcd"
    data.mkdir(mode=0o700, parents=True)
    _start(context, cluster, "etcd", controlplane.etcd(context.binaries, data))
    _start(context, cluster, "kube-apiserver", controlplane.kube_apiserver(context.binaries, cluster, credentials))


def _start_controllers(context: Context, cluster: ClusterSpec, credentials: controlplane.Credentials) -> None:
    manager = controlplane.kube_controller_manager(context.binaries, cluster, credentials)
    _start(context, cluster, "kube-controller-manager", manager)
    _start(context, cluster, "kube-scheduler", controlplane.kube_scheduler(context.binaries, credentials))


def _start(context: Context, cluster: ClusterSpec, name: str, argv: list[str]) -> None:
    """A control plane component, in the control plane's namespace."""
    context.keeper.start(
        Program(
            name=f"{cluster.name}/{name}",
            namespace=addresses.control_plane_namespace(cluster),
            argv=argv,
            log=_log(context, cluster, name),
            environment={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **GO, **_marker(context)},
        )
    )


def _start_agent(
    context: Context, cluster: ClusterSpec, name: str, namespace: str | None, module: str, config: dict[str, Any]
) -> None:
    path = context.directory / "config" / f"{cluster.name}-{name}.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    pki.write_secret(path, json.dumps(config, indent=1).encode())
    context.keeper.start(
        Program(
            name=f"{cluster.name}/{name}",
            namespace=namespace,
            argv=[module, str(path)],
            forked=True,
            log=_log(context, cluster, name),
            environment={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **_marker(context)},
        )
    )


def _start_node_agent(context: Context, cluster: ClusterSpec, credentials: controlplane.Credentials) -> None:
    config = {
        "cluster": cluster.name,
        "api": _api_files(cluster, credentials.authority, credentials.node_agent),
        "nodes": [
            {"name": node, "address": addresses.node_address(cluster, node), "netns": node}
            for node in addresses.node_names(cluster)
        ],
        "serving": {
            "cert": str(credentials.kubelet_server.cert),
            "key": str(credentials.kubelet_server.key),
            "client_ca": str(credentials.authority.ca),
        },
        "images": {"coredns": str(context.binaries.coredns), "python": preflight.HOST_PYTHON},
        "scratch": str(context.directory / "scratch" / cluster.name / "pods"),
        "logs": str(context.directory / "logs" / cluster.name / "pods"),
        "dns": addresses.dns_service_address(cluster),
        "domain": "cluster.local",
    }
    _start_agent(context, cluster, "node-agent", None, "meshproof.clusters.embedded.nodeagent.__main__", config)


def _start_mesh(context: Context, cluster: ClusterSpec, credentials: controlplane.Credentials) -> None:
    api = _api_files(cluster, credentials.authority, credentials.mesh)
    authority = context.mesh_authority
    name = f"{cluster.name}.mesh.meshproof"
    identity = authority.server(f"server-{cluster.name}", [name], [addresses.mesh_address(cluster)])
    tls = {"ca": str(authority.ca), "cert": str(identity.cert), "key": str(identity.key)}
    own = {"cluster": cluster.name, "id": cluster.id, "api": api, "tls": tls}
    listen = {"address": addresses.mesh_address(cluster), "port": addresses.MESH_PORT}
    package = "meshproof.clusters.meshes.reference"
    peers = [
        {
            "cluster": peer.name,
            "id": peer.id,
            "address": addresses.mesh_address(peer),
            "port": addresses.MESH_PORT,
        }
        for peer in context.spec.clusters
        if peer.name != cluster.name
    ]
    _start_agent(
        context,
        cluster,
        "mesh-exporter",
        addresses.mesh_namespace(cluster),
        f"{package}.exporter",
        {**own, "listen": listen, "peers": peers},
    )
    for node in addresses.node_names(cluster):
        _start_agent(
            context, cluster, f"mesh-agent-{node}", node, f"{package}.agent", {**own, "node": node, "peers": peers}
        )


def _dns(cluster: ClusterSpec) -> list[dict[str, Any]]:
    objects = manifests.load(NODE_MANIFESTS / "coredns.yaml")
    for thing in objects:
        if thing["kind"] == "Service":
            thing["spec"]["clusterIP"] = addresses.dns_service_address(cluster)
    return objects


def _nodes_ready(api: Api, cluster: ClusterSpec) -> bool:
    nodes = api.get("/api/v1/nodes").get("items") or []
    ready = [node for node in nodes if _condition(node, "Ready") == "True" and node["spec"].get("podCIDR")]
    return len(ready) == cluster.workers


def _condition(thing: dict[str, Any], kind: str) -> str:
    conditions = thing.get("status", {}).get("conditions") or []
    return next((str(entry["status"]) for entry in conditions if entry["type"] == kind), "")


def _dns_ready(api: Api) -> bool:
    deployment = api.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    return int(deployment.get("status", {}).get("readyReplicas", 0)) >= 1


def _mesh_ready(context: Context, api: Api, cluster: ClusterSpec) -> bool:
    """Every agent of this cluster reports every peer synced."""
    status = api.get("/api/v1/namespaces/kube-system/configmaps/reference-mesh-status").get("data") or {}
    expected = {peer.name for peer in context.spec.clusters if peer.name != cluster.name}
    for node in addresses.node_names(cluster):
        peers = json.loads(status.get(f"agent-{node}", "{}")).get("peers", {})
        if {name for name, peer in peers.items() if peer.get("synced")} != expected:
            return False
    return True


def _until(deadline: float, condition: Callable[[], bool], otherwise: str) -> None:
    """Poll `condition` until it holds; an API server that does not answer counts as 'not yet'."""
    last = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except ApiError as error:
            last = f" (last error: {error})"
        time.sleep(POLL_SECONDS)
    raise NotReady(otherwise + last)


def _api_files(cluster: ClusterSpec, authority: pki.Authority, user: pki.Pair) -> dict[str, str]:
    return {
        "server": addresses.api_server(cluster),
        "ca": str(authority.ca),
        **{key: str(value) for key, value in asdict(user).items()},
    }


def _log(context: Context, cluster: ClusterSpec, name: str) -> Path:
    return context.directory / "logs" / cluster.name / f"{name}.log"


def _marker(context: Context) -> dict[str, str]:
    """By this variable `down` knows every process of the fleet, whatever became of its pid files."""
    return {"MESHPROOF_FLEET_DIR": str(context.directory)}
