"""An agent's link to one peer's exporter: dial, listen, and dial again, for ever.

What is held of the peer outlives the connection. Silence for three heartbeats is a lost
connection; the next attempt follows within a second.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.feed import Feed, PeerRefused, PeerState
from meshproof.clusters.meshes.reference.records import RecordRefused
from meshproof.clusters.meshes.reference.serving import SECONDS_BETWEEN_HEARTBEATS, Tls
from meshproof.clusters.meshes.reference.status import Peer

SECONDS_OF_SILENCE = 3 * SECONDS_BETWEEN_HEARTBEATS
SECONDS_TO_RETRY = (0.1, 1.0)
LINE_BYTES_MAX = 16 * 1024 * 1024

log = logging.getLogger(__name__)

Dial = Callable[[], contextlib.AbstractContextManager[Iterator[bytes]]]


@dataclass(frozen=True, slots=True)
class Exporter:
    """Where a peer's exporter listens; its certificate must be for `<cluster>.mesh.meshproof`."""

    cluster: str
    address: str
    port: int
    tls: Tls

    @contextlib.contextmanager
    def dial(self) -> Iterator[Iterator[bytes]]:
        """The lines of one connection. Raises OSError (also for TLS) or HTTPException."""
        with (
            socket.create_connection((self.address, self.port), timeout=SECONDS_OF_SILENCE) as plain,
            self.tls.client().wrap_socket(plain, server_hostname=f"{self.cluster}.mesh.meshproof") as secure,
        ):
            connection = http.client.HTTPConnection(self.address, self.port)
            connection.sock = secure
            connection.request("GET", "/v1/records")
            answer = connection.getresponse()
            if answer.status != 200:
                raise ConnectionError(f"the exporter of {self.cluster} answered {answer.status}")
            yield iter(lambda: answer.readline(LINE_BYTES_MAX), b"")


class Link:
    """A thread that keeps `state` as the peer says it is; calls `on_change` when that or the connection changed."""

    def __init__(self, state: PeerState, dial: Dial, feed: Callable[[], Feed], on_change: Callable[[], None]) -> None:
        self.state = state
        self._dial = dial
        self._feed = feed
        self._on_change = on_change
        self._connected = False
        self._since = time.time()
        self._stopped = False
        self._again = threading.Event()
        self.wanted = 0
        """How often a re-sync was asked for."""
        self.done = 0
        """The value of `wanted` when the sync that is in force began."""
        threading.Thread(target=self._run, name=f"link {state.member.cluster}", daemon=True).start()

    def status(self) -> Peer:
        return Peer(self._connected, self.state.synced, len(self.state.records), self._since)

    def connected(self) -> bool:
        return self._connected

    def resync(self) -> int:
        """Have the peer tell everything again; `done` reaches the number returned when it has."""
        self.wanted += 1
        self._again.set()
        return self.wanted

    def stop(self) -> None:
        """Let the thread end at its next line or attempt; what is held stays."""
        self._stopped = True
        self._again.set()

    def _run(self) -> None:
        pause, longest = SECONDS_TO_RETRY
        while not self._stopped:
            try:
                self._listen()
            except (OSError, http.client.HTTPException, PeerRefused, ValueError) as error:
                log.warning("%s: %s", self.state.member.cluster, error)
            pause = SECONDS_TO_RETRY[0] if self._connected else min(longest, pause * 2)
            if not self._again.is_set():
                self._connect(False)
            self._again.wait(pause)

    def _listen(self) -> None:
        """One connection, until it breaks or a re-sync is asked for."""
        self._again.clear()
        asked = self.wanted
        with self._dial() as lines:
            self.state.begin()
            for line in lines:
                before = self.state.records, self.state.synced
                try:
                    self.state.take(json.loads(line), self._feed())
                except RecordRefused as error:
                    log.warning("record refused: %s", error)
                    continue
                if not self._connected:
                    self._connect(True)
                if self.state.synced:
                    self.done = asked
                if before != (self.state.records, self.state.synced):
                    self._on_change()
                if self._again.is_set():
                    return
        raise ConnectionError("the peer closed the stream")

    def _connect(self, connected: bool) -> None:
        if connected != self._connected:
            self._connected, self._since = connected, time.time()
            log.info("%s: %s", self.state.member.cluster, "connected" if connected else "lost")
            self._on_change()
