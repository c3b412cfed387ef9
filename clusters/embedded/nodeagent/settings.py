"""The agent's configuration file: JSON written by the supervisor, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node: its Kubernetes name, its address on the fabric and its network namespace."""

    name: str
    address: str
    netns: str


@dataclass(frozen=True, slots=True)
class Serving:
    """Files of the kubelet port: our certificate and key, and who signs the clients we answer."""

    cert: str
    key: str
    client_ca: str


@dataclass(frozen=True, slots=True)
class Settings:
    cluster: str
    api: Mapping[str, str]
    """server, ca, cert, key."""
    nodes: tuple[NodeSettings, ...]
    serving: Serving
    images: Mapping[str, str]
    """Image name (last part of the repository) to the program on this host."""
    scratch: Path
    logs: Path
    dns: str
    domain: str


def read(path: Path) -> Settings:
    """The settings in `path`. Raises KeyError or TypeError for a field that is missing or unknown."""
    raw = json.loads(path.read_text())
    return Settings(
        cluster=raw["cluster"],
        api={key: raw["api"][key] for key in ("server", "ca", "cert", "key")},
        nodes=tuple(NodeSettings(**node) for node in raw["nodes"]),
        serving=Serving(**raw["serving"]),
        images=dict(raw["images"]),
        scratch=Path(raw["scratch"]).resolve(),
        logs=Path(raw["logs"]).resolve(),
        dns=raw["dns"],
        domain=raw["domain"],
    )
