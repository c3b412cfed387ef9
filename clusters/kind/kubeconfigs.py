"""Kubeconfig files of a kind fleet: its own, one per cluster and one with all, never the user's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from meshproof.clusters.embedded.pki import write_secret
from meshproof.clusters.fleet import ClusterSpec, FleetSpec

Config = dict[str, Any]


def publish(cluster: ClusterSpec, written: Path, directory: Path) -> None:
    """What kind wrote, under the cluster's own name and with nothing else in it."""
    config = yaml.safe_load(written.read_text())
    renamed = of(cluster.name, config["clusters"][0]["cluster"], config["users"][0]["user"])
    folder = directory / "kubeconfig"
    folder.mkdir(mode=0o700, exist_ok=True)
    write_secret(folder / cluster.name, yaml.safe_dump(renamed).encode())


def of(name: str, cluster: Config, user: Config) -> Config:
    """One cluster, one user, one context, all of that name."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def merge(spec: FleetSpec, directory: Path) -> None:
    """All members in one file, `all`; the first is its current context."""
    folder = directory / "kubeconfig"
    members = [yaml.safe_load((folder / cluster.name).read_text()) for cluster in spec.clusters]
    whole = {**members[0], **{key: [m[key][0] for m in members] for key in ("clusters", "users", "contexts")}}
    write_secret(folder / "all", yaml.safe_dump(whole).encode())


def files(config: Config) -> dict[str, str]:
    """The three PEM files that a kubeconfig with embedded certificates holds, by the names the mesh reads them by."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    encoded = {
        "api-ca.crt": cluster["certificate-authority-data"],
        "api.crt": user["client-certificate-data"],
        "api.key": user["client-key-data"],
    }
    return {name: base64.b64decode(data).decode() for name, data in encoded.items()}
