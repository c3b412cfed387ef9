"""One cluster's own services and its peers' records, made into what a node must balance (the `merge` seam).

Namespace and name must be equal in both clusters, and the own service must be global. The own
ClusterIP and port are dialled; a peer's target port is used and its ClusterIP never seen. A backend
is an address and port without a cluster, so overlapping pod addresses collapse, as they do in Cilium.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.records import Key, Port, Record
from meshproof.clusters.meshes.reference.selection import is_global
from meshproof.clusters.meshes.reference.world import Endpoint, Service, World

Backend = tuple[str, int]
"""(IPv4 address, port number)"""

Imported = Mapping[str, Mapping[Key, Record]]
"""Peer cluster name -> what it shares."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """One port of one service: what is dialled, and who may answer."""

    namespace: str
    name: str
    address: str
    port: Port
    backends: tuple[Backend, ...]
    hairpins: frozenset[str]
    """Addresses of the own cluster among the backends: a pod there may be sent to itself."""


def merge(world: World, imported: Imported) -> tuple[Frontend, ...]:
    """Every balanced port of every service of the own cluster, in order of service and port."""
    return tuple(
        _frontend(service, port, world.endpoints.get(service.key, ()), _remote(service, world, imported))
        for _, service in sorted(world.services.items())
        if service.address
        for port in service.ports
    )


def matches(own: Port, name: str, protocol: str) -> bool:
    """Whether a peer's port serves this port of ours: by name, and an unnamed one on either side fits every name."""
    return protocol == own.protocol and (not own.name or not name or own.name == name)


def _remote(service: Service, world: World, imported: Imported) -> list[Record]:
    if not is_global(service, world.namespaces.get(service.namespace, {})):
        return []
    return [records[service.key] for records in imported.values() if service.key in records]


def _frontend(service: Service, port: Port, endpoints: Iterable[Endpoint], remote: Iterable[Record]) -> Frontend:
    local = {
        (endpoint.address, number)
        for endpoint in endpoints
        if endpoint.ready
        for name, (protocol, number) in endpoint.ports.items()
        if name == port.name and protocol == port.protocol
    }
    far = {
        (address, number)
        for record in remote
        for address, ports in record.backends.items()
        for name, (protocol, number) in ports.items()
        if matches(port, name, protocol)
    }
    return Frontend(
        namespace=service.namespace,
        name=service.name,
        address=service.address,
        port=port,
        backends=tuple(sorted(local | far)),
        hairpins=frozenset(address for address, _ in local),
    )
