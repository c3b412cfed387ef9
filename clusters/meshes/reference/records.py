"""What one cluster tells another about one shared service, as values and as JSON.

A record carries every ready backend of the service and next to nothing else: no readiness, no ClusterIP,
no selector, no affinity; a terminating backend just disappears. `exported` says that the service also has a name
under `svc.fleet`. A record is whole, never a difference, so that the newest one replaces all before it.
Whatever comes from a peer ends up in firewall rules and in the API server, so decoding is strict.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""(namespace, name) of a Service."""

Ports = Mapping[str, tuple[str, int]]
"""Port name (empty when unnamed) -> (protocol, port number) of one backend."""

PROTOCOLS = ("TCP", "UDP")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label, as the names of Services and Namespaces are."""


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
    exported: bool = False
    """Whether every member knows it as `<name>.<namespace>.svc.fleet` too."""

    @property
    def key(self) -> Key:
        return self.namespace, self.name


def encode(record: Record) -> dict[str, Any]:
    """The JSON shape of docs/decisions/0010."""
    return {
        "cluster": record.member.cluster,
        "id": record.member.id,
        "namespace": record.namespace,
        "name": record.name,
        "ports": [{"name": p.name, "protocol": p.protocol, "port": p.number} for p in record.ports],
        "backends": {ip: {name: list(port) for name, port in ports.items()} for ip, ports in record.backends.items()},
        "exported": record.exported,
    }


def decode(data: Any) -> Record:
    """The record in `data`. Raises RecordRefused when anything about it is not as it should be."""
    try:
        return Record(
            member=Member(_text(data["cluster"]), int(data["id"])),
            namespace=_label(data["namespace"]),
            name=_label(data["name"]),
            ports=tuple(Port(_port(p["name"]), _protocol(p["protocol"]), _number(p["port"])) for p in data["ports"]),
            backends={
                str(ipaddress.IPv4Address(ip)): {
                    str(name): (_protocol(protocol), _number(number)) for name, (protocol, number) in ports.items()
                }
                for ip, ports in data["backends"].items()
            },
            exported=data.get("exported") is True,
        )
    except RecordRefused:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordRefused(f"not a record: {error!r}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise RecordRefused(f"expected a name, got {value!r}")
    return value


def _label(value: Any) -> str:
    if not LABEL.fullmatch(_text(value)):
        raise RecordRefused(f"not a name: {value!r}")
    return str(value)


def _port(value: Any) -> str:
    return _label(value) if value else ""


def _protocol(value: Any) -> str:
    if value not in PROTOCOLS:
        raise RecordRefused(f"unknown protocol {value!r}")
    return str(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise RecordRefused(f"not a port number: {value!r}")
    return value
