"""How a component notices that something changed: mirrors of its own API server, and a bell.

Any number of changes within 20 ms becomes one evaluation, and the first of a burst is not
delayed. Nothing is concluded from mirrors that have not synced: an empty world at start
would withdraw everything.
"""

from __future__ import annotations

import threading
import time

from meshproof.clusters.meshes.reference.world import World, read_world
from meshproof.clusters.rest import Api, Mirror, Object

SECONDS_BETWEEN_VISITS = 0.02


class Doorbell:
    """Turns any number of rings, from any thread, into one visit at most every 20 ms."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._visited = 0.0

    def ring(self) -> None:
        self._rung.set()

    def wait(self, seconds: float | None) -> None:
        """Return when somebody has rung since the last visit, or after `seconds`."""
        self._rung.wait(seconds)
        time.sleep(max(0.0, self._visited + SECONDS_BETWEEN_VISITS - time.monotonic()))
        self._rung.clear()
        self._visited = time.monotonic()


class Outlook:
    """A live view of one's own cluster; rings `bell` at every change."""

    def __init__(self, api: Api, bell: Doorbell) -> None:
        def on_change(_kind: str, _thing: Object) -> None:
            bell.ring()

        self._services = Mirror(api, "/api/v1/services", on_change=on_change)
        self._slices = Mirror(api, "/apis/discovery.k8s.io/v1/endpointslices", on_change=on_change)
        self._namespaces = Mirror(api, "/api/v1/namespaces", on_change=on_change)
        for mirror in self._mirrors():
            mirror.start()

    def _mirrors(self) -> tuple[Mirror, ...]:
        return self._services, self._slices, self._namespaces

    def synced(self) -> bool:
        return all(mirror.synced.is_set() for mirror in self._mirrors())

    def read(self) -> World | None:
        """The world as last seen, or None before it was seen whole."""
        if not self.synced():
            return None
        return read_world(*(mirror.snapshot().values() for mirror in self._mirrors()))
