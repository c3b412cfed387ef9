"""One cluster's Services, endpoints and Namespaces as the mesh sees them.

Kubernetes objects come in as the API server's JSON and are cut down to what the rules need: IPv4,
TCP and UDP. `address` is empty for a service that has no ClusterIP of its own (headless,
ExternalName), which therefore is neither balanced nor shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshproof.clusters.meshes.reference.records import PROTOCOLS, Key, Port, Ports

SERVICE_OF_SLICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Service:
    """A Service of the own cluster."""

    namespace: str
    name: str
    address: str
    ports: tuple[Port, ...]
    annotations: Mapping[str, str]

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service; `ready` is false only when a slice says so."""

    address: str
    ports: Ports
    ready: bool


@dataclass(frozen=True, slots=True)
class World:
    """All that a component knows of its own cluster."""

    services: Mapping[Key, Service] = field(default_factory=dict)
    endpoints: Mapping[Key, tuple[Endpoint, ...]] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Namespace name -> its annotations."""


def read_world(services: Iterable[Any], slices: Iterable[Any], namespaces: Iterable[Any]) -> World:
    """The world described by API objects (dicts, as JSON)."""
    known = [_service(item) for item in services]
    return World(
        services={service.key: service for service in known},
        endpoints=_endpoints(slices),
        namespaces={item["metadata"]["name"]: _annotations(item) for item in namespaces},
    )


def _service(item: Any) -> Service:
    spec, metadata = item["spec"], item["metadata"]
    address = spec.get("clusterIP", "")
    balanced = spec.get("type") != "ExternalName" and address not in ("", "None") and ":" not in address
    return Service(
        namespace=metadata["namespace"],
        name=metadata["name"],
        address=address if balanced else "",
        ports=tuple(
            Port(port.get("name", ""), port.get("protocol", "TCP"), port["port"])
            for port in spec.get("ports") or ()
            if port.get("protocol", "TCP") in PROTOCOLS
        ),
        annotations=_annotations(item),
    )


def _endpoints(slices: Iterable[Any]) -> dict[Key, tuple[Endpoint, ...]]:
    """Endpoints by service. An address that stands in several slices is one endpoint with all their ports."""
    found: dict[Key, dict[str, Endpoint]] = {}
    for item in slices:
        name = item["metadata"].get("labels", {}).get(SERVICE_OF_SLICE)
        if name is None or item.get("addressType") != "IPv4":
            continue
        ports = {
            port.get("name") or "": (port.get("protocol") or "TCP", port["port"])
            for port in item.get("ports") or ()
            if port.get("port") and (port.get("protocol") or "TCP") in PROTOCOLS
        }
        known = found.setdefault((item["metadata"]["namespace"], name), {})
        for entry in item.get("endpoints") or ():
            ready = (entry.get("conditions") or {}).get("ready") is not False
            for address in entry["addresses"]:
                before = known.get(address)
                known[address] = Endpoint(
                    address=address,
                    ports={**(before.ports if before else {}), **ports},
                    ready=ready or (before is not None and before.ready),
                )
    return {key: tuple(known[address] for address in sorted(known)) for key, known in found.items()}


def _annotations(item: Any) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}
