"""What helm made of one cluster's values: its objects, and where in them the facts lie that members must agree on.

Only reads. An object or a key that is missing is no error here: what is asked for comes back empty, and whoever
compares says so in its own words.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Manifest = Mapping[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader where there is one: it takes a tenth of the time, and a chart's values are 4,500 lines."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of one cluster, in helm's order."""

    objects: tuple[Manifest, ...]

    def find(self, kind: str, name: str) -> Manifest:
        """The object of that kind and name; empty when there is none."""
        for manifest in self.objects:
            if manifest.get("kind") == kind and manifest.get("metadata", {}).get("name") == name:
                return manifest
        return {}

    def config(self) -> Mapping[str, str]:
        """What the agents are told, by flag."""
        return self.find("ConfigMap", "cilium-config").get("data") or {}

    def secret(self, name: str) -> dict[str, bytes]:
        """A secret's content, decoded."""
        data: Mapping[str, str] = self.find("Secret", name).get("data") or {}
        return {key: _decoded(value) for key, value in data.items()}

    def secrets(self) -> Iterator[str]:
        """The names of all secrets."""
        for manifest in self.objects:
            if manifest.get("kind") == "Secret":
                yield str(manifest["metadata"]["name"])

    def images(self) -> frozenset[str]:
        """Every image reference in any pod template, wherever it stands."""
        return frozenset(reference for manifest in self.objects for reference in _images(manifest))


def read(text: str) -> Rendered:
    """The output of `helm template`."""
    return Rendered(tuple(manifest for manifest in yaml.load_all(text, _LOADER) if manifest))


def document(text: str) -> Any:
    """One YAML document, such as a chart's values.yaml."""
    return yaml.load(text, _LOADER)  # noqa: S506 - a SafeLoader either way


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""


def _images(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from _images(value)
    elif isinstance(part, list):
        for item in part:
            yield from _images(item)
