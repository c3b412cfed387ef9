"""What one cluster tells another about one shared service, as values and as JSON.

A record carries every ready backend of the service and nothing else: no readiness, no ClusterIP,
no selector. It is whole, never a difference, so that the newest one replaces all before it.
Whatever comes from a peer ends up in firewall rules, so decoding is strict.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""(namespace, name) of a Service."""

Ports = Mapping[str, tuple[str, int]]
"""Port name (empty when unnamed) -> (protocol, port number) of one backend."""

PROTOCOLS = ("TCP", "UDP")


class RecordRefused(ValueError):
    """A record that this mesh must not use; the message says why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A cluster as a member of the mesh."""

    cluster: str
    id: int


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a Service; `name` is empty when unnamed, `protocol` TCP or UDP."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """One shared service of one cluster; `backends` is pod IP -> the ports it serves."""

    member: Member
    namespace: str
    name: str
    ports: tuple[Port, ...]
    backends: Mapping[str, Ports]

    @property
    def key(self) -> Key:
        return self.namespace, self.name


def encode(record: Record) -> dict[str, Any]:
    """The JSON shape of SPEC 'Mesh semantics'."""
    return {
        "cluster": record.member.cluster,
        "id": record.member.id,
        "namespace": record.namespace,
        "name": record.name,
        "ports": [{"name": p.name, "protocol": p.protocol, "port": p.number} for p in record.ports],
        "backends": {ip: {name: list(port) for name, port in ports.items()} for ip, ports in record.backends.items()},
    }


def decode(data: Any) -> Record:
    """The record in `data`. Raises RecordRefused when anything about it is not as it should be."""
    try:
        return Record(
            member=Member(_text(data["cluster"]), int(data["id"])),
            namespace=_text(data["namespace"]),
            name=_text(data["name"]),
            ports=tuple(Port(str(p["name"]), _protocol(p["protocol"]), _number(p["port"])) for p in data["ports"]),
            backends={
                str(ipaddress.IPv4Address(ip)): {
                    str(name): (_protocol(protocol), _number(number)) for name, (protocol, number) in ports.items()
                }
                for ip, ports in data["backends"].items()
            },
        )
    except RecordRefused:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordRefused(f"not a record: {error!r}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise RecordRefused(f"expected a name, got {value!r}")
    return value


def _protocol(value: Any) -> str:
    if value not in PROTOCOLS:
        raise RecordRefused(f"unknown protocol {value!r}")
    return str(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 < value < 65536:
        raise RecordRefused(f"not a port number: {value!r}")
    return value
