"""Flows that must not outlive their backend (the `forget` seam says which).

The kernel keeps sending a UDP flow where its first packet went. A DNS client that keeps its port
would therefore talk to a server that has moved away, for as long as it keeps asking; the same goes for a flow that
began before its service was known. TCP needs none of this: its connections end, and may end in peace.

Raw ctnetlink (linux/netfilter/nfnetlink_conntrack.h): list the flows, delete those whose reply
comes from nobody who may answer now. IPv4, the calling process's network namespace, needs root.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.merge import Backend
from meshproof.clusters.meshes.reference.ruleset import Target

Allowed = Mapping[Target, frozenset[Backend]]
"""What is dialled -> who may answer it now."""

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TUPLE_ORIGINAL, TUPLE_REPLY = 1, 2
TUPLE_IP, TUPLE_PROTOCOL = 1, 2
SOURCE, DESTINATION = 1, 2
PROTOCOL_NUMBER, PORT_SOURCE, PORT_DESTINATION = 1, 2, 3
TYPE_MASK = 0x3FFF
HEADER = struct.Struct("=IHHII")
FAMILY_IPV4 = struct.pack("=BBH", socket.AF_INET, 0, 0)
FILTER, FILTER_ORIGINAL, FILTER_REPLY = 25, 1, 2
BY_DESTINATION, BY_PROTOCOL, BY_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5
NESTED = 0x8000
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
ENOENT = 2
SECONDS_MAX = 2.0
LISTS_MAX = 16
"""So many dialled ports are asked for one by one; for more, one list of all flows is quicker."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked flow: what the client dialled, who answers, and how the kernel names it."""

    dialled: Target
    answers: Backend
    name: bytes


def udp_only(allowed: Allowed) -> Allowed:
    """The healthy `forget`: UDP flows go, TCP connections live on."""
    return {at: backends for at, backends in allowed.items() if at[1] == "udp"}


def forget(allowed: Allowed) -> int:
    """Delete the flows to each dialled port that none of its allowed backends answers; how many.

    Raises OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(SECONDS_MAX)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        netlink.bind((0, 0))
        stale = [
            flow
            for protocol, dialled in _lists(allowed)
            for flow in flows(netlink, protocol, dialled)
            if flow.dialled in allowed and flow.answers not in allowed[flow.dialled]
        ]
        for flow in stale:
            _delete(netlink, flow)
        return len(stale)


def _lists(allowed: Allowed) -> Set[tuple[str, Target | None]]:
    """The lists of flows to ask for. Reading all of a busy node takes longer than its connections live."""
    return {(at[1], at if len(allowed) <= LISTS_MAX else None) for at in allowed}


def flows(netlink: socket.socket, protocol: str, dialled: Target | None = None) -> Iterator[Flow]:
    """Every tracked flow of this protocol, tcp or udp, over IPv4; only those to one dialled port where it is given.

    A kernel before 5.8 knows no filter and tells of all: more than was asked for, but nothing less.
    """
    place, ports, by = b"", _pack(PROTOCOL_NUMBER, bytes([NUMBERS[protocol]])), BY_PROTOCOL
    if dialled is not None:
        place = _nest(TUPLE_IP, _pack(DESTINATION, socket.inet_aton(dialled[0])))
        ports += _pack(PORT_DESTINATION, dialled[2].to_bytes(2, "big"))
        by |= BY_DESTINATION | BY_DESTINATION_PORT
    wanted = _nest(TUPLE_ORIGINAL, place + _nest(TUPLE_PROTOCOL, ports))
    asked = _nest(FILTER, _pack(FILTER_ORIGINAL, struct.pack("=I", by)) + _pack(FILTER_REPLY, bytes(4)))
    for body in _exchange(netlink, GET, REQUEST | DUMP, wanted + asked):
        attributes = dict(_attributes(body[4:]))
        original = attributes.get(TUPLE_ORIGINAL)
        reply = attributes.get(TUPLE_REPLY)
        if original is None or reply is None:
            continue
        to, answers = _end(original, DESTINATION, PORT_DESTINATION), _end(reply, SOURCE, PORT_SOURCE)
        if to is not None and answers is not None:
            yield Flow((to[1], to[0], to[2]), answers[1:], original)


def _pack(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _nest(kind: int, attributes: bytes) -> bytes:
    return _pack(kind | NESTED, attributes)


def _delete(netlink: socket.socket, flow: Flow) -> None:
    try:
        list(_exchange(netlink, DELETE, REQUEST | ACK, _nest(TUPLE_ORIGINAL, flow.name)))
    except OSError as error:
        if error.errno != ENOENT:  # it ended by itself meanwhile
            raise


def _end(packed: bytes, address: int, port: int) -> tuple[str, str, int] | None:
    """Protocol, address and port of one end of a tuple, if it is TCP or UDP over IPv4."""
    parts = dict(_attributes(packed))
    where, protocol = dict(_attributes(parts[TUPLE_IP])), dict(_attributes(parts[TUPLE_PROTOCOL]))
    name = PROTOCOLS.get(protocol[PROTOCOL_NUMBER][0])
    if name is None or len(where.get(address, b"")) != 4:
        return None
    return name, socket.inet_ntoa(where[address]), int.from_bytes(protocol[port], "big")


def _exchange(netlink: socket.socket, kind: int, flags: int, attributes: bytes) -> Iterator[bytes]:
    """The bodies of all answers to one request. Raises OSError with the kernel's errno."""
    body = FAMILY_IPV4 + attributes
    netlink.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
    while True:
        data = netlink.recv(1 << 18)
        while data:
            length, kind, flags, _, _ = HEADER.unpack_from(data)
            answer, data = data[HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", answer)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return
            yield answer


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & TYPE_MASK, data[4:length]
        data = data[(length + 3) & ~3 :]
