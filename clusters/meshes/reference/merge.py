"""One own service and its peers' records, made into what a node must balance (the seams `gather`, `merge`, `choose`).

Namespace and name must be equal in both clusters, and the own service must be global. The own
ClusterIP and port are dialled; a peer's target port is used and its ClusterIP never seen. A backend
is an address and port without a cluster, so overlapping pod addresses collapse, as they do in Cilium.
A peer's backends are always active; an own one may also be terminating, which is healthy but gets new connections
only where nobody is active. internalTrafficPolicy keeps out own backends of other nodes and, as in
Cilium, no peer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshproof.clusters.meshes.reference.records import Key, Port, Record
from meshproof.clusters.meshes.reference.selection import affinity, is_exported, is_global
from meshproof.clusters.meshes.reference.world import Endpoint, Service, World

Backend = tuple[str, int]
"""(IPv4 address, port number)"""

Imported = Mapping[str, Mapping[Key, Record]]
"""Peer cluster name -> what it shares."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One port of one service and everybody who could answer it, before affinity has its say."""

    port: Port
    local: tuple[Backend, ...]
    """Own backends that are active."""
    terminating: tuple[Backend, ...] = ()
    """Own backends that are going but still serve."""
    remote: Mapping[str, tuple[Backend, ...]] = field(default_factory=dict)
    """Peer cluster -> its backends; empty for a service that takes no part in the mesh."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """One port of one service: what is dialled, and who may answer."""

    namespace: str
    name: str
    address: str
    port: Port
    backends: tuple[Backend, ...]
    """One that is named twice gets twice the share."""
    hairpins: frozenset[str]
    """Addresses of the own cluster among the backends: a pod there may be sent to itself."""
    session_seconds: int = 0
    """How long a client stays with its backend; 0 is no session affinity."""


def own(world: World, service: Service) -> tuple[Endpoint, ...]:
    """The own cluster's endpoints of a service; those of a svc.fleet name are the exported service's."""
    origin = service.stands_for
    if origin is None:
        return world.endpoints.get(service.key, ())
    exported = world.services.get(origin)
    if exported is None or not is_exported(exported, world.namespace(exported.namespace)):
        return ()
    return world.endpoints.get(origin, ())


def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
    """The records of the same namespace and name, by peer; for a svc.fleet name those that are exported under it."""
    key = service.stands_for or service.key
    found = {cluster: records[key] for cluster, records in imported.items() if key in records}
    if service.stands_for is None:
        return found
    return {cluster: record for cluster, record in found.items() if record.exported}


def merge(
    service: Service,
    endpoints: tuple[Endpoint, ...],
    namespace: Mapping[str, str],
    remote: Mapping[str, Record],
    node: str,
) -> tuple[Offer, ...]:
    """What there is for each port of one service, seen from `node`."""
    joined = is_global(service, namespace)
    near = [e for e in endpoints if not service.internal_local or e.node in ("", node)]
    return tuple(
        Offer(
            port=port,
            local=_serving(port, (e for e in near if e.ready and not e.terminating)),
            terminating=_serving(port, (e for e in near if e.terminating and e.serving)),
            remote={cluster: _of_peer(port, record) for cluster, record in remote.items()} if joined else {},
        )
        for port in service.ports
    )


def matches(own: Port, name: str, protocol: str) -> bool:
    """Whether a peer's port serves this port of ours: by name, and an unnamed one on either side fits every name."""
    return protocol == own.protocol and (not own.name or not name or own.name == name)


def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
    """Who gets new connections: affinity decides between own and remote, then the active go before the terminating.

    `local` lets the remote ones in when none of the own is active, `remote` the own ones when there is none remote:
    all or nothing, no threshold.
    """
    far = {backend for backends in offer.remote.values() for backend in backends}
    active, terminating = set(offer.local), set(offer.terminating)
    match affinity(service):
        case "local" if active:
            far = set()
        case "remote" if far:
            active, terminating = set(), set()
    return tuple(sorted(active | far or terminating))


def _serving(port: Port, endpoints: Iterable[Endpoint]) -> tuple[Backend, ...]:
    """Own endpoints by the port's exact name: a slice's ports are named as its Service's are."""
    return tuple(
        (e.address, number)
        for e in endpoints
        for name, (protocol, number) in e.ports.items()
        if name == port.name and protocol == port.protocol
    )


def _of_peer(port: Port, record: Record) -> tuple[Backend, ...]:
    return tuple(
        (address, number)
        for address, ports in record.backends.items()
        for name, (protocol, number) in ports.items()
        if matches(port, name, protocol)
    )
