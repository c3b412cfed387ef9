"""The reference mesh and cluster DNS as objects of a real cluster: Secret, DaemonSet, Deployments.

The same processes as on an embedded fleet, in pods: an agent on every node (its network, privileged, since it writes
the node's rules) and one exporter on the node of the control plane, whose address peers know. Both talk to the API
server at the node's address and not through a service, because it is the agent that makes services work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from meshproof.clusters.embedded import addresses
from meshproof.clusters.fleet import ClusterSpec
from meshproof.clusters.kind.images import COREDNS, MESH
from meshproof.clusters.kind.plan import MESH_PORT, Node

API_PORT = addresses.API_PORT
FILES = "/etc/reference-mesh"
MEMORY = "/run/reference-mesh"
NAME = "reference-mesh"
SHARE = {"requests": {"cpu": "100m", "memory": "50Mi"}}
"""Whoever asks for nothing gets a hundredth of what others get on a busy node, and everybody waits for these."""
CONTROL_PLANE = {"node-role.kubernetes.io/control-plane": ""}
_CLUSTERS = Path(__file__).parents[1]
_PACKAGE = "meshproof.clusters.meshes.reference"

Object = dict[str, Any]


def dns(cluster: ClusterSpec) -> list[Object]:
    """CoreDNS, as on an embedded fleet; it stays where its image is, on the node of the control plane."""
    objects = _load(_CLUSTERS / "embedded" / "manifests" / "coredns.yaml")
    for thing in objects:
        if thing["kind"] == "Service":
            thing["spec"]["clusterIP"] = addresses.dns_service_address(cluster)
        if thing["kind"] == "Deployment":
            pod = thing["spec"]["template"]["spec"]
            pod["nodeSelector"] = CONTROL_PLANE
            pod["containers"][0] |= {"image": COREDNS, "resources": SHARE}
    return objects


def mesh(
    cluster: ClusterSpec, peers: Mapping[ClusterSpec, str], nodes: Sequence[Node], own: str, secrets: Mapping[str, str]
) -> list[Object]:
    """All objects of one cluster's part of the mesh.

    `peers`: the other clusters and the address of each one's exporter; `own`: the address of this one's, which is its
    control plane's too; `secrets`: file name -> text of ca.crt, tls.crt, tls.key, api-ca.crt, api.crt, api.key.
    """
    shared = {
        "cluster": cluster.name,
        "id": cluster.id,
        "api": {
            "server": f"https://{own}:{API_PORT}",
            **{key: f"{FILES}/{file}" for key, file in (("ca", "api-ca.crt"), ("cert", "api.crt"), ("key", "api.key"))},
        },
        "tls": {"ca": f"{FILES}/ca.crt", "cert": f"{FILES}/tls.crt", "key": f"{FILES}/tls.key"},
        "peers": [
            {"cluster": peer.name, "id": peer.id, "address": address, "port": MESH_PORT}
            for peer, address in peers.items()
        ],
    }
    configs = {"exporter.json": {**shared, "listen": {"address": own, "port": MESH_PORT}}}
    for node in nodes:
        configs[f"agent-{node.name}.json"] = {**shared, "node": node.name, "memory": f"{MEMORY}/known.json"}
    data = {**secrets, **{name: json.dumps(config) for name, config in configs.items()}}
    # Other files, other pods: whoever runs with the old ones is replaced.
    marks = {"meshproof/files": hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()}
    return [
        *_load(_CLUSTERS / "meshes" / "reference" / "manifests.yaml"),
        {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(NAME), "stringData": data},
        _daemon_set(marks),
        _deployment(marks),
    ]


def _daemon_set(marks: Mapping[str, str]) -> Object:
    privileged = {"privileged": True}
    pod = _pod("agent", f"{FILES}/agent-$(NODE).json", privileged)
    pod["containers"][0]["volumeMounts"].append({"name": "memory", "mountPath": MEMORY})
    pod["volumes"].append({"name": "memory", "hostPath": {"path": MEMORY, "type": "DirectoryOrCreate"}})
    spec = {**_selected(f"{NAME}-agent", pod, marks), "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _metadata(f"{NAME}-agent"), "spec": spec}


def _deployment(marks: Mapping[str, str]) -> Object:
    pod = {**_pod("exporter", f"{FILES}/exporter.json", {}), "nodeSelector": CONTROL_PLANE}
    name = f"{NAME}-exporter"
    spec = {"replicas": 1, "strategy": {"type": "Recreate"}, **_selected(name, pod, marks)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(name), "spec": spec}


def _pod(component: str, config: str, security: Mapping[str, bool]) -> Object:
    container = {
        "name": component,
        "image": MESH,
        "imagePullPolicy": "Never",
        "args": [f"{_PACKAGE}.{component}", config],
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "PYTHONPATH", "value": "/opt/meshproof"},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
        ],
        "resources": SHARE,
        "securityContext": dict(security),
        "volumeMounts": [{"name": "files", "mountPath": FILES, "readOnly": True}],
    }
    return {
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "files", "secret": {"secretName": NAME, "defaultMode": 0o400}}],
    }


def _selected(app: str, pod: Object, marks: Mapping[str, str]) -> Object:
    labels = {"app": app}
    metadata = {"labels": labels, "annotations": dict(marks)}
    return {"selector": {"matchLabels": labels}, "template": {"metadata": metadata, "spec": pod}}


def _metadata(name: str) -> Object:
    return {"name": name, "namespace": "kube-system"}


def _load(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
