"""UDP flows that must not outlive their backend.

The kernel keeps sending a UDP flow where its first packet went. A DNS client that keeps its port
would therefore talk to a server that has moved away, for as long as it keeps asking; the same goes for a flow that
began before its service was known. TCP needs none of this: its connections end.

Raw ctnetlink (linux/netfilter/nfnetlink_conntrack.h): list the flows, delete those whose reply
comes from nobody who may answer now. IPv4, the calling process's network namespace, needs root.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.merge import Backend

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
ENOENT = 2
SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked UDP flow: whom the client dialled, who answers, and how the kernel names it."""

    dialled: Backend
    answers: Backend
    name: bytes


def forget(allowed: Mapping[Backend, frozenset[Backend]]) -> int:
    """Delete the UDP flows to each dialled address that none of its allowed backends answers; how many.

    Raises OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(SECONDS_MAX)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        netlink.bind((0, 0))
        stale = [f for f in flows(netlink) if f.dialled in allowed and f.answers not in allowed[f.dialled]]
        for flow in stale:
            _delete(netlink, flow)
        return len(stale)


def flows(netlink: socket.socket) -> Iterator[Flow]:
    """Every tracked UDP flow over IPv4."""
    for body in _exchange(netlink, GET, REQUEST | DUMP, b""):
        attributes = dict(_attributes(body[4:]))
        original = attributes.get(TUPLE_ORIGINAL)
        reply = attributes.get(TUPLE_REPLY)
        if original is None or reply is None:
            continue
        dialled, answers = _end(original, DESTINATION, PORT_DESTINATION), _end(reply, SOURCE, PORT_SOURCE)
        if dialled is not None and answers is not None:
            yield Flow(dialled, answers, original)


def _delete(netlink: socket.socket, flow: Flow) -> None:
    name = struct.pack("=HH", 4 + len(flow.name), TUPLE_ORIGINAL | 0x8000) + flow.name
    try:
        list(_exchange(netlink, DELETE, REQUEST | ACK, name))
    except OSError as error:
        if error.errno != ENOENT:  # it ended by itself meanwhile
            raise


def _end(packed: bytes, address: int, port: int) -> Backend | None:
    """One end of a tuple, if it is UDP over IPv4."""
    parts = dict(_attributes(packed))
    where, protocol = dict(_attributes(parts[TUPLE_IP])), dict(_attributes(parts[TUPLE_PROTOCOL]))
    if protocol[PROTOCOL_NUMBER][0] != socket.IPPROTO_UDP or len(where.get(address, b"")) != 4:
        return None
    return socket.inet_ntoa(where[address]), int.from_bytes(protocol[port], "big")


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
