"""An agent's link to one peer's exporter: dial, listen, and dial again, for ever.

What is held of the peer outlives the connection, for ever or for as long as the cache TTL says (the `revoke`
seam); what was revoked comes back with the connection. Silence for three heartbeats is a lost
connection; the next attempt follows within a second. `Links` are all links of one component.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.feed import Feed, PeerRefused, PeerState
from meshproof.clusters.meshes.reference.records import Key, Member, Record, RecordRefused
from meshproof.clusters.meshes.reference.serving import SECONDS_BETWEEN_HEARTBEATS, Tls
from meshproof.clusters.meshes.reference.status import Peer, Peers

SECONDS_OF_SILENCE = 3 * SECONDS_BETWEEN_HEARTBEATS
SECONDS_TO_RETRY = (0.1, 1.0)
LINE_BYTES_MAX = 16 * 1024 * 1024

log = logging.getLogger(__name__)

Dial = Callable[[], contextlib.AbstractContextManager[Iterator[bytes]]]


def revoke(away_seconds: float, ttl_seconds: float) -> bool:
    """The healthy `revoke`: a TTL of 0 is for ever."""
    return 0 < ttl_seconds <= away_seconds


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
        self._lost = time.monotonic()
        self._revoked = False
        self._changing = threading.Lock()
        self.heard = False
        """Whether the peer was ever heard whole."""
        self._stopped = False
        self._again = threading.Event()
        self.wanted = 0
        """How often a re-sync was asked for."""
        self.done = 0
        """The value of `wanted` when the sync that is in force began."""
        threading.Thread(target=self._run, name=f"link {state.member.cluster}", daemon=True).start()

    def status(self) -> Peer:
        return Peer(self._connected, self.state.synced, len(self.records()), self._since)

    def records(self) -> Mapping[Key, Record]:
        """What counts of what is held."""
        return {} if self._revoked else self.state.records

    def lapse(self, revoked: Callable[[float], bool]) -> None:
        """Let what is held count no more when `revoked` says so of the seconds since the connection was lost."""
        with self._changing:
            if not self._connected and not self._revoked and revoked(time.monotonic() - self._lost):
                log.info("%s: revoked", self.state.member.cluster)
                self._revoked = True

    def certain(self) -> bool:
        """Whether what the peer does not name is known not to be there."""
        return self.heard or self._revoked

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
                    self.done, self.heard = asked, True
                if before != (self.state.records, self.state.synced):
                    self._on_change()
                if self._again.is_set():
                    return
        raise ConnectionError("the peer closed the stream")

    def _connect(self, connected: bool) -> None:
        if connected == self._connected:
            return
        with self._changing:
            if connected and self._revoked:  # after the peer's hello and before anything else it says
                self.state.records, self._revoked = {}, False
            self._connected, self._since, self._lost = connected, time.time(), time.monotonic()
        log.info("%s: %s", self.state.member.cluster, "connected" if connected else "lost")
        self._on_change()


class Links:
    """A component's links to all its peers; none until it has joined."""

    def __init__(self) -> None:
        self._links: tuple[Link, ...] = ()

    def join(
        self,
        peers: Mapping[Member, Exporter],
        remembered: Mapping[str, Mapping[Key, Record]],
        feed: Callable[[], Feed],
        on_change: Callable[[], None],
    ) -> None:
        """Link to `peers`, starting from what is remembered of them."""
        self._links = tuple(
            Link(PeerState(member, remembered.get(member.cluster, {})), exporter.dial, feed, on_change)
            for member, exporter in peers.items()
        )

    def imported(self, revoked: Callable[[float], bool]) -> dict[str, Mapping[Key, Record]]:
        """Peer -> its records, after those were revoked of which `revoked` says so."""
        for link in self._links:
            link.lapse(revoked)
        return {link.state.member.cluster: link.records() for link in self._links}

    def status(self) -> Peers:
        return {link.state.member.cluster: link.status() for link in self._links}

    def certain(self) -> bool:
        """Whether every peer was heard whole, or is revoked."""
        return all(link.certain() for link in self._links)

    def synced(self, remembered: frozenset[str]) -> bool:
        """Whether every peer has told all it has or is one of `remembered`."""
        return all(link.state.synced or link.state.member.cluster in remembered for link in self._links)

    def resync(self) -> Callable[[], bool]:
        """Have every peer tell everything again; the answer says whether all did that are not away."""
        asked = {link: link.resync() for link in self._links}
        return lambda: all(link.done >= wanted or not link.connected() for link, wanted in asked.items())
