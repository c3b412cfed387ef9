"""One cluster's Services, endpoints and Namespaces as the mesh sees them.

Kubernetes objects come in as the API server's JSON and are cut down to what the rules need: IPv4,
TCP and UDP. `address` is empty for a service that has no ClusterIP of its own (headless,
ExternalName), which therefore is neither balanced nor shared. What is read from one object depends on that
object alone, so that a change costs what changed and not what there is (`watching.Outlook`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshproof.clusters.meshes.reference.records import PROTOCOLS, Key, Port, Ports
from meshproof.clusters.meshes.reference.settings import Settings

SERVICE_OF_SLICE = "kubernetes.io/service-name"
MANAGED_BY = ("app.kubernetes.io/managed-by", "meshproof-reference-mesh")
"""Label of the Services that the mesh itself keeps."""
STANDS_FOR = "meshproof.reference/stands-for"
"""Annotation of such a Service: `<namespace>/<name>` of the exported service that answers under its name."""
SESSION_SECONDS = 10800


@dataclass(frozen=True, slots=True)
class Service:
    """A Service of the own cluster."""

    namespace: str
    name: str
    address: str
    ports: tuple[Port, ...]
    annotations: Mapping[str, str]
    session_seconds: int = 0
    """How long a client stays with its backend after its last connection; 0 is no session affinity."""
    internal_local: bool = False
    """internalTrafficPolicy: Local."""
    selects: bool = True
    """Whether it has a selector; without one its EndpointSlices are made by hand, or there are none."""
    stands_for: Key | None = None
    """The exported service whose name it bears; only for a Service that the mesh keeps."""

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service.

    `ready` is false only when a slice says so; a terminating one is never ready, and `serving` says whether it still
    answers. `node` is empty where no slice names it.
    """

    address: str
    ports: Ports
    ready: bool
    serving: bool = True
    terminating: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """All that a component knows of its own cluster."""

    services: Mapping[Key, Service] = field(default_factory=dict)
    endpoints: Mapping[Key, tuple[Endpoint, ...]] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Namespace name -> its annotations, and what the mesh's settings say where they are silent."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """What the settings say of a Namespace that has not been seen yet."""
    settings: Settings = field(default_factory=Settings)

    def namespace(self, name: str) -> Mapping[str, str]:
        """The annotations by which this Namespace is judged."""
        return self.namespaces.get(name, self.elsewhere)


def read_world(services: Iterable[Any], slices: Iterable[Any], namespaces: Iterable[Any]) -> World:
    """The world described by API objects (dicts, as JSON)."""
    known = [read_service(item) for item in services]
    pieces: dict[Key, list[tuple[Endpoint, ...]]] = {}
    for item in slices:
        if (key := service_of(item)) is not None:
            pieces.setdefault(key, []).append(read_slice(item))
    return World(
        services={service.key: service for service in known},
        endpoints={key: joined(parts) for key, parts in pieces.items()},
        namespaces={item["metadata"]["name"]: annotations_of(item) for item in namespaces},
    )


def read_service(item: Any) -> Service:
    """One Service."""
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
        annotations=annotations_of(item),
        session_seconds=_session_seconds(spec),
        internal_local=spec.get("internalTrafficPolicy") == "Local",
        selects=bool(spec.get("selector")),
        stands_for=_stands_for(metadata),
    )


def _stands_for(metadata: Any) -> Key | None:
    if (metadata.get("labels") or {}).get(MANAGED_BY[0]) != MANAGED_BY[1]:
        return None
    namespace, _, name = (metadata.get("annotations") or {}).get(STANDS_FOR, "").partition("/")
    return namespace, name


def _session_seconds(spec: Any) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    given = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    return int(given or SESSION_SECONDS)


def service_of(item: Any) -> Key | None:
    """The service that an EndpointSlice belongs to; None when it is of no use to us."""
    name = (item["metadata"].get("labels") or {}).get(SERVICE_OF_SLICE)
    return (item["metadata"]["namespace"], name) if name and item.get("addressType") == "IPv4" else None


def read_slice(item: Any) -> tuple[Endpoint, ...]:
    """The endpoints of one EndpointSlice."""
    ports = {
        port.get("name") or "": (port.get("protocol") or "TCP", port["port"])
        for port in item.get("ports") or ()
        if port.get("port") and (port.get("protocol") or "TCP") in PROTOCOLS
    }
    return tuple(
        _endpoint(address, ports, entry.get("conditions") or {}, entry.get("nodeName") or "")
        for entry in item.get("endpoints") or ()
        for address in entry["addresses"]
    )


def _endpoint(address: str, ports: Ports, conditions: Any, node: str) -> Endpoint:
    ready, serving = conditions.get("ready") is not False, conditions.get("serving")
    return Endpoint(
        address=address,
        ports=ports,
        ready=ready,
        serving=ready if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
        node=node,
    )


def joined(pieces: Iterable[tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:
    """The endpoints of a service's slices. An address that stands in several is one endpoint with all their ports."""
    known: dict[str, Endpoint] = {}
    for piece in pieces:
        for entry in piece:
            before = known.get(entry.address)
            known[entry.address] = entry if before is None else _both(before, entry)
    return tuple(known[address] for address in sorted(known))


def _both(one: Endpoint, other: Endpoint) -> Endpoint:
    return Endpoint(
        address=one.address,
        ports={**one.ports, **other.ports},
        ready=one.ready or other.ready,
        serving=one.serving or other.serving,
        terminating=one.terminating and other.terminating,
        node=one.node or other.node,
    )


def annotations_of(item: Any) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}
