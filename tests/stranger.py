"""A fleet of ours made to look like somebody else's: accounts with few rights, a kubeconfig of theirs, their policies.

What a stranger's clusters have and ours do not: kubeconfigs in several files with other names for the contexts, one of
them with a credential plugin; accounts that may do what a manifest says and no more; a default-deny policy in every
namespace of one cluster. And `everything`, which sees whatever is in a cluster, to hold before against after.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiException

from meshproof.clusters.api import call
from meshproof.clusters.existing.permissions import Permission, manifest
from meshproof.clusters.fleet import Cluster, Fleet

NAMESPACE = "ci"
VOLATILE = ("events", "leases", "componentstatuses")
"""What changes by itself."""
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "default-deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}


def account(cluster: Cluster, name: str, lines: Iterable[Permission]) -> str:
    """A ServiceAccount that may do just this; a token of it."""
    ensure(cluster, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    own = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    ensure(cluster, own, {"metadata": {"name": name}})
    for made in manifest(lines, f"serviceaccount:{NAMESPACE}:{name}"):
        made["metadata"] = {**made["metadata"], "name": f"{made['metadata']['name']}-{name}"}
        if "roleRef" in made:
            made["roleRef"] = {**made["roleRef"], "name": f"{made['roleRef']['name']}-{name}"}
        inside = f"/namespaces/{made['metadata']['namespace']}" if "namespace" in made["metadata"] else ""
        ensure(cluster, f"/apis/{made['apiVersion']}{inside}/{made['kind'].lower()}s", made)
    asked = {"spec": {"expirationSeconds": 7200}}
    return str(call(cluster, "POST", f"{own}/{name}/token", asked)["status"]["token"])


def ensure(cluster: Cluster, path: str, thing: Mapping[str, Any]) -> None:
    """Make it, unless it is there."""
    try:
        call(cluster, "POST", path, thing)
    except ApiException as error:
        if error.status != 409:
            raise


def close(cluster: Cluster) -> None:
    """A default-deny policy in every namespace there is, as many teams have it."""
    for namespace in call(cluster, "GET", "/api/v1/namespaces")["items"]:
        name = namespace["metadata"]["name"]
        ensure(cluster, f"/apis/networking.k8s.io/v1/namespaces/{name}/networkpolicies", DENY)


def kubeconfig(fleet: Fleet, folder: Path, tokens: Mapping[str, str]) -> str:
    """$KUBECONFIG of somebody with these tokens, by cluster name: a file each, context `their-<cluster>`.

    The first cluster's token comes of a credential plugin, which counts its calls in `plugin-calls`.
    """
    folder.mkdir(mode=0o700)
    ours = {entry["name"]: entry["cluster"] for entry in _ours(fleet)["clusters"]}
    files = []
    for number, (name, token) in enumerate(tokens.items()):
        user = {"exec": _plugin(folder, name, token)} if number == 0 else {"token": token}
        context = {"cluster": name, "user": f"somebody-{name}"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": f"their-{name}",
            "clusters": [{"name": name, "cluster": ours[name]}],
            "users": [{"name": f"somebody-{name}", "user": user}],
            "contexts": [{"name": each, "context": context} for each in (f"their-{name}", f"also-{name}")],
        }
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(document))
        files[-1].chmod(0o600)
    return ":".join(map(str, files))


def _ours(fleet: Fleet) -> Any:
    return json.loads((fleet.directory / "kubeconfig" / "all").read_text())


def _plugin(folder: Path, name: str, token: str) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    said = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    script = folder / f"plugin-{name}"
    script.write_text(f"#!/bin/sh\necho called >> '{folder}/plugin-calls'\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    script.chmod(stat.S_IRWXU)
    return {"apiVersion": version, "command": str(script), "interactiveMode": "Never", "provideClusterInfo": False}


def everything(cluster: Cluster) -> dict[str, str]:
    """A digest of every object that the cluster has, by its path; without what changes by itself."""
    found: dict[str, str] = {}
    for base in ("/api/v1", *_groups(cluster)):
        for resource in call(cluster, "GET", base)["resources"]:
            if "list" not in resource["verbs"] or "/" in resource["name"] or resource["name"] in VOLATILE:
                continue
            for item in call(cluster, "GET", f"{base}/{resource['name']}").get("items") or ():
                meta = {k: v for k, v in item["metadata"].items() if k not in ("resourceVersion", "managedFields")}
                if meta["name"] == "reference-mesh-status":
                    continue
                kept = {**{k: v for k, v in item.items() if k not in ("status", "metadata")}, "metadata": meta}
                text = json.dumps(kept, sort_keys=True)
                where = f"{base}/{meta.get('namespace', '')}/{resource['name']}/{meta['name']}"
                found[where] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _groups(cluster: Cluster) -> list[str]:
    groups = call(cluster, "GET", "/apis")["groups"]
    return [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]
