"""A chart on paper: what Cilium's charts make of our values, as far as members must agree on it, in our own few lines.

The real charts are checked by tests/test_fidelity.py, with the same wrong values; this one needs neither helm nor them.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshproof.clusters.embedded import pki
from meshproof.clusters.fleet import FleetSpec
from meshproof.clusters.fleetfile import load, resolve
from meshproof.clusters.meshes.cilium import rendering
from meshproof.clusters.meshes.cilium.agreement import Mesh
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.lock import lock
from meshproof.clusters.meshes.cilium.rendered import Rendered
from meshproof.clusters.meshes.cilium.trust import SERVED
from meshproof.fidelity import on_paper

Values = dict[str, Any]
Change = Callable[[str, Values], Values]
DEFAULTS: Values = {
    "routingMode": "tunnel",
    "ipv4NativeRoutingCIDR": "",
    "kubeProxyReplacement": "false",
    "tls": {"ca": {"cert": "", "key": ""}},
    "clustermesh": {
        "maxConnectedClusters": 255,
        "defaultGlobalNamespace": True,
        "apiserver": {"service": {"type": "NodePort", "nodePort": 32379}},
        "config": {"clusters": {}},
    },
}


def fleet(name: str = "two") -> FleetSpec:
    return load(resolve(name))


def plan(spec: FleetSpec, version: str = "1.20") -> rendering.Plan:
    return rendering.plan(spec, on_paper(spec), Chart(lock().release(version), None))


def mesh(spec: FleetSpec, work: Path, change: Change = lambda _, values: values, version: str = "1.20") -> Mesh:
    """What the chart on paper makes of a fleet's values, changed."""
    planned = plan(spec, version)
    objects = {}
    for name, files in rendering.write(planned, work, change).items():
        values = copy.deepcopy(DEFAULTS)
        for file in files:
            values = merged(values, yaml.safe_load(file.read_text()))
        images = [(placed.image.value, placed.image.pinned) for placed in planned.images]
        objects[name] = render(values, images, work / f"signed-{name}")
    nodes = {name: reach.nodes for name, reach in planned.reach.items()}
    return Mesh(spec, nodes, planned.images, objects)


def merged(below: Values, above: Mapping[str, Any]) -> Values:
    """Values files as helm lays one over the other."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def render(values: Values, images: list[tuple[str, str]], work: Path) -> Rendered:
    mesh = values["clustermesh"]
    peers = mesh["config"]["clusters"]
    named = peers if isinstance(peers, dict) else {peer["name"]: peer for peer in peers}
    service = mesh["apiserver"]["service"]
    local, remote = "https://clustermesh-apiserver.kube-system.svc:2379", "https://{}.mesh.cilium.io:{}"
    aliases = [
        {"ip": address, "hostnames": [f"{name}.mesh.cilium.io"]}
        for name, peer in named.items()
        for address in peer.get("ips", [])
    ]
    config = {
        "cluster-name": values["cluster"]["name"],
        "cluster-id": str(values["cluster"]["id"]),
        "routing-mode": values["routingMode"],
        "ipam": values["ipam"]["mode"],
        "kube-proxy-replacement": values["kubeProxyReplacement"],
        "ipv4-native-routing-cidr": values["ipv4NativeRoutingCIDR"],
        "max-connected-clusters": str(mesh["maxConnectedClusters"]),
        "clustermesh-default-global-namespace": str(mesh["defaultGlobalNamespace"]).lower(),
    }
    users = {"users": [{"name": f"remote-{name}", "role": "remote"} for name in named] or None}  # as the charts do
    containers = [{"name": place, "image": _image(values, place) or pinned} for place, pinned in images]
    return Rendered(
        (
            _object("ConfigMap", "cilium-config", data=config),
            _object("ConfigMap", "clustermesh-remote-users", data={"users.yaml": yaml.safe_dump(users)}),
            _object("Service", "clustermesh-apiserver", spec={"type": service["type"], "ports": [_port(service)]}),
            _secret("cilium-clustermesh", {name: _etcd(local) for name in named}),
            _secret("cilium-kvstoremesh", {n: _etcd(remote.format(n, p.get("port"))) for n, p in named.items()}),
            _object(
                "Deployment",
                "clustermesh-apiserver",
                spec={"template": {"spec": {"hostAliases": aliases, "containers": containers}}},
            ),
            *_certificates(values["tls"]["ca"], work),
        )
    )


def _certificates(given: Mapping[str, str], work: Path) -> list[dict[str, Any]]:
    if given["cert"]:
        work.mkdir()
        key = load_pem_private_key(base64.b64decode(given["key"]), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        authority = pki.Authority(work, x509.load_pem_x509_certificate(base64.b64decode(given["cert"])), key)
        pem = base64.b64decode(given["cert"])
    else:  # the chart makes an authority of its own, which no other cluster knows
        authority = pki.new_authority(work, "on paper")
        pem = authority.ca.read_bytes()
    pair = authority.server("served", list(SERVED), [])
    content = {"ca.crt": pem, "tls.crt": pair.cert.read_bytes(), "tls.key": pair.key.read_bytes()}
    return [_secret("cilium-ca", {"ca.crt": pem}), _secret("clustermesh-apiserver-server-cert", content)]


def _image(values: Values, place: str) -> str:
    for step in place.split("."):
        values = values.get(step, {})
    return str(values.get("override", ""))


def _port(service: Values) -> dict[str, int]:
    return {"port": 2379, **({"nodePort": service["nodePort"]} if service["type"] == "NodePort" else {})}


def _etcd(endpoint: str) -> bytes:
    return yaml.safe_dump({"endpoints": [endpoint]}).encode()


def _object(kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, **content}


def _secret(name: str, data: Mapping[str, bytes]) -> dict[str, Any]:
    return _object("Secret", name, data={key: base64.b64encode(value).decode() for key, value in data.items()})
