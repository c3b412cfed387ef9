"""What a component says of itself in kube-system/reference-mesh-status: evidence, never a verdict.

One key per component, its value JSON. It is written when something changed, at most four times a second, and only
every five seconds where nothing but counters did, by a thread of its own, so that a slow or dead API server never
delays a rule. The last word of a process that died stays; a reader who needs to know looks at the process.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from meshproof.clusters.rest import Api, ApiError

PATH = "/api/v1/namespaces/kube-system/configmaps/reference-mesh-status"
SECONDS_BETWEEN_WRITES = 0.25
SECONDS_BETWEEN_COUNTS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer as an agent sees it; `since` is the wall time at which `connected` last changed."""

    connected: bool
    synced: bool
    services: int
    since: float


Peers = Mapping[str, Peer]


def status(peers: Peers) -> Peers:
    """The healthy status: the truth."""
    return peers


@dataclass(frozen=True, slots=True)
class Status:
    """One component. `applied` counts the changes put in force; `error` is empty when all is well.

    `defects` is None until the component has learned which ones are asked for: not the same as healthy. `settings` are
    those in force, empty until some are.
    """

    defects: tuple[str, ...] | None = None
    peers: Peers = field(default_factory=dict)
    applied: int = 0
    error: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def gist(self) -> Status:
        """This without its counters."""
        peers = {cluster: replace(peer, services=0) for cluster, peer in self.peers.items()}
        return replace(self, peers=peers, applied=min(self.applied, 1))


class Reporter:
    """Writes one component's status. Thread-safe; `report` and `acknowledge` return at once."""

    def __init__(self, api: Api, component: str) -> None:
        self._api = api
        self._component = component
        self._status = Status()
        self._complaint = ""
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def report(self, peers: Peers, applied: int, error: str, settings: Mapping[str, str]) -> None:
        """The component's own part."""
        with self._changed:
            fresh = replace(self._status, peers=peers, applied=applied, error=error, settings=settings)
            if fresh != self._status:
                self._status = fresh
                self._changed.notify()

    def acknowledge(self, defects: tuple[str, ...] | None, complaint: str) -> None:
        """The toggle's part: these defects are in force now (None: not known yet), and what it has to complain of."""
        with self._changed:
            self._status = replace(self._status, defects=defects)
            self._complaint = complaint
            self._changed.notify()

    def _now(self) -> Status:
        error = "; ".join(part for part in (self._complaint, self._status.error) if part)
        return replace(self._status, error=error)

    def _run(self) -> None:
        written, at = Status(applied=-1), 0.0
        while True:
            with self._changed:
                while not self._due(current := self._now(), written, at):
                    self._changed.wait(SECONDS_BETWEEN_COUNTS if current != written else None)
            try:
                self._write(current)
                written, at = current, time.monotonic()
            except ApiError as error:
                log.warning("status not written: %s", error)
            time.sleep(SECONDS_BETWEEN_WRITES)

    def _due(self, current: Status, written: Status, at: float) -> bool:
        if current.gist() != written.gist():
            return True
        return current != written and time.monotonic() - at >= SECONDS_BETWEEN_COUNTS

    def _write(self, current: Status) -> None:
        value = json.dumps({"at": time.time(), **asdict(current)})
        self._api.patch(PATH, {"data": {self._component: value}}, kind="merge")
