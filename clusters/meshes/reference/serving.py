"""The exporter's public side: GET /v1/records over mutual TLS, an endless stream of JSON lines.

There is no queue per client. Every client's thread compares what it sent last with the newest
records and sends the difference, so a slow client costs no memory and skips what is already outdated; one
that cannot take a line within five seconds is cut off, dials again and is told everything. A record is written
as JSON once, however many clients there are.
Certificates are read from their files for each connection, so that a rotation needs no restart.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.records import Key, Member, Record, encode

SECONDS_TO_SEND = 5.0
SECONDS_BETWEEN_HEARTBEATS = 1.0
CLIENTS_MAX = 512
REQUEST_BYTES_MAX = 16384
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
NOT_FOUND = b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files: the mesh's CA, and one's own certificate and key."""

    ca: str
    cert: str
    key: str

    def server(self) -> ssl.SSLContext:
        return self._identified(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca))

    def client(self) -> ssl.SSLContext:
        return self._identified(ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca))

    def _identified(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_cert_chain(self.cert, self.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True, slots=True)
class Line:
    """One record, ready to be sent."""

    record: Record
    text: bytes


class Board:
    """The newest records and their version; version 0 means that nothing is known yet."""

    def __init__(self) -> None:
        self._lines: Mapping[Key, Line] = {}
        self._version = 0
        self._changed = threading.Condition()

    @property
    def version(self) -> int:
        return self._version

    def publish(self, records: Mapping[Key, Record]) -> None:
        """Replace the records."""
        old = self._lines
        lines = {
            key: before if (before := old.get(key)) is not None and before.record == record else _line(record)
            for key, record in records.items()
        }
        if self._version and lines == old:
            return
        with self._changed:
            self._lines = lines
            self._version += 1
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float) -> tuple[int, Mapping[Key, Line]]:
        """The newest version and its lines, at once when newer than `seen`, else after at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen, seconds)
            return self._version, self._lines


def batches(member: Member, board: Board) -> Iterator[list[bytes]]:
    """What one client is told, without end: lists of lines to send together. Waits between lists."""
    me = {"cluster": member.cluster, "id": member.id}
    yield [_json({"op": "hello", **me})]
    seen = 0
    told: Mapping[Key, Line] = {}
    while True:
        version, lines = board.wait(seen, SECONDS_BETWEEN_HEARTBEATS)
        if version == seen:
            yield [_json({"op": "heartbeat"})]
            continue
        gone = told.keys() - lines.keys()
        yield [
            *(line.text for key, line in lines.items() if told.get(key) is not line),
            *(_json({"op": "delete", **me, "namespace": key[0], "name": key[1]}) for key in gone),
            *([_json({"op": "synced"})] if seen == 0 else []),
        ]
        seen, told = version, lines


def _line(record: Record) -> Line:
    return Line(record, _json({"op": "put", "record": encode(record)}))


def _json(line: object) -> bytes:
    return json.dumps(line).encode() + b"\n"


class Server:
    """Accepts peers' agents. The listening socket is open when the constructor returns; raises OSError."""

    def __init__(self, member: Member, board: Board, tls: Tls, address: str, port: int) -> None:
        self._member = member
        self._board = board
        self._tls = tls
        self._places = threading.BoundedSemaphore(CLIENTS_MAX)
        self._listener = socket.create_server((address, port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def close(self) -> None:
        """Take no new clients; those being served are left to their threads."""
        # shutdown, not only close: close alone leaves the accepting thread inside accept(2)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, origin = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EBADF, errno.EINVAL):
                    return  # closed
                log.warning("accept failed: %s", error)
                continue
            if not self._places.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, origin[0]), name="client", daemon=True).start()

    def _serve(self, client: socket.socket, origin: str) -> None:
        try:
            client.settimeout(SECONDS_TO_SEND)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SECONDS_TO_SEND * 2000))
            with client, self._tls.server().wrap_socket(client, server_side=True) as secure:
                if _request(secure).split(b" ")[:2] != [b"GET", b"/v1/records"]:
                    secure.sendall(NOT_FOUND)
                    return
                log.info("%s connected", origin)
                secure.sendall(ANSWER)
                for batch in batches(self._member, self._board):
                    secure.sendall(b"".join(batch))
        except OSError as error:
            log.info("%s gone: %s", origin, error)
        finally:
            self._places.release()


def _request(secure: ssl.SSLSocket) -> bytes:
    """The head of one HTTP request. Raises OSError when there is none."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = secure.recv(4096)
        if not part or len(head) > REQUEST_BYTES_MAX:
            raise ConnectionError("no request")
        head += part
    return head
