"""How a component notices that something changed: mirrors of its own API server, and a bell.

Any number of changes within 25 ms becomes one evaluation, and the first of a burst is not
delayed. An object is read when it changes and never again; one whose meaning is the same (a new resourceVersion, a
label) rings nobody. Nothing is concluded from mirrors that have not synced: an empty world at start
would withdraw everything. An object that cannot be read is as it was before, and the status tells of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from meshproof.clusters.meshes.reference.records import Key
from meshproof.clusters.meshes.reference.selection import NAMESPACE_GLOBAL
from meshproof.clusters.meshes.reference.settings import CONFIG, Settings, read_settings
from meshproof.clusters.meshes.reference.world import (
    Endpoint,
    Service,
    World,
    annotations_of,
    joined,
    read_service,
    read_slice,
    service_of,
)
from meshproof.clusters.rest import Api, Mirror, Object, key_of

SECONDS_BETWEEN_VISITS = 0.025
SECONDS_WITHOUT_VISIT_MAX = 1.0
"""Even when nobody rings: time itself changes things, such as how long a peer has been away."""

Kept = TypeVar("Kept")


class Doorbell:
    """Turns any number of rings, from any thread, into one visit at most every 25 ms and at least every second."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._visited = 0.0

    def ring(self) -> None:
        self._rung.set()

    def wait(self, seconds: float = SECONDS_WITHOUT_VISIT_MAX) -> None:
        """Return when somebody has rung since the last visit, or after `seconds`."""
        self._rung.wait(min(seconds, SECONDS_WITHOUT_VISIT_MAX))
        time.sleep(max(0.0, self._visited + SECONDS_BETWEEN_VISITS - time.monotonic()))
        self._rung.clear()
        self._visited = time.monotonic()


class Outlook:
    """A live view of one's own cluster; rings `bell` at every change that means something."""

    def __init__(self, api: Api, bell: Doorbell) -> None:
        self._bell = bell
        self._lock = threading.Lock()
        self._services: dict[Key, Service] = {}
        self._pieces: dict[Key, dict[Key, tuple[Endpoint, ...]]] = {}
        self._homes: dict[Key, Key] = {}
        self._endpoints: dict[Key, tuple[Endpoint, ...]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._settings = Settings()
        self._odd: dict[str, str] = {}
        self._world: World | None = None
        self.configured = threading.Event()
        """Set whenever the configuration changed or was first heard of; whoever acts on it clears it."""
        self._configuration: Mapping[str, str] = {}

        def mirror(path: str, take: Callable[[str, Object], bool], **query: str) -> Mirror:
            return Mirror(api, path, query, lambda kind, item: self._on_change(path, take, kind, item))

        named = {"fieldSelector": f"metadata.name={CONFIG}"}
        self._configurations = mirror("/api/v1/namespaces/kube-system/configmaps", self._take_configuration, **named)
        self._mirrors = (
            mirror("/api/v1/services", self._take_service),
            mirror("/apis/discovery.k8s.io/v1/endpointslices", self._take_slice),
            mirror("/api/v1/namespaces", self._take_namespace),
            self._configurations,
        )
        for each in self._mirrors:
            each.start()

    def synced(self) -> bool:
        return all(mirror.synced.is_set() for mirror in self._mirrors)

    def read(self) -> World | None:
        """The world as last seen, or None before it was seen whole. The same object while nothing changed."""
        if not self.synced():
            return None
        with self._lock:
            if self._world is None:
                elsewhere = {} if self._settings.global_by_default else dict.fromkeys(NAMESPACE_GLOBAL, "false")
                self._world = World(
                    services=dict(self._services),
                    endpoints=dict(self._endpoints),
                    namespaces={name: {**elsewhere, **said} for name, said in self._namespaces.items()},
                    elsewhere=elsewhere,
                    settings=self._settings,
                )
            return self._world

    def configuration(self) -> Mapping[str, str] | None:
        """The data of the configuration ConfigMap, empty when there is none; None before that is known."""
        return self._configuration if self._configurations.synced.is_set() else None

    def complaint(self) -> str:
        """What could not be read, or nothing."""
        with self._lock:
            return "; ".join(part for part in (self._settings.complaint, *self._odd.values()) if part)

    def _on_change(self, path: str, take: Callable[[str, Object], bool], kind: str, item: Object) -> None:
        if not item:  # a whole list was read
            self.configured.set()
            self._bell.ring()
            return
        name = f"{path} {'/'.join(key_of(item))}"
        with self._lock:
            try:
                changed = take(kind, item)
                self._odd.pop(name, None)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._odd[name], changed = f"{name}: {error!r}", True
            if changed:
                self._world = None
        if changed:
            self._bell.ring()

    def _take_service(self, kind: str, item: Object) -> bool:
        return _keep(self._services, key_of(item), None if kind == "DELETED" else read_service(item))

    def _take_namespace(self, kind: str, item: Object) -> bool:
        return _keep(self._namespaces, key_of(item)[1], None if kind == "DELETED" else annotations_of(item))

    def _take_slice(self, kind: str, item: Object) -> bool:
        name, home = key_of(item), None if kind == "DELETED" else service_of(item)
        left = self._homes.get(name)
        touched = False
        if left is not None and left != home:
            touched = _keep(self._pieces[left], name, None)
            del self._homes[name]
            self._join(left)
        if home is not None:
            piece = read_slice(item)
            self._homes[name] = home
            touched |= _keep(self._pieces.setdefault(home, {}), name, piece)
            self._join(home)
        return touched

    def _join(self, home: Key) -> None:
        pieces = self._pieces[home]
        _keep(self._endpoints, home, joined(pieces.values()) if pieces else None)
        if not pieces:
            del self._pieces[home]

    def _take_configuration(self, kind: str, item: Object) -> bool:
        self._configuration = {} if kind == "DELETED" else dict(item.get("data") or {})
        self._settings = read_settings(self._configuration)
        self.configured.set()
        return True


def _keep(where: dict[Key, Kept] | dict[str, Kept], key: Key | str, new: Kept | None) -> bool:
    """Put `new`, or remove what is there when it is None; whether that changed anything."""
    kept: dict[Key | str, Kept] = where  # type: ignore[assignment]  # one dictionary, whichever its keys
    if new is None:
        return kept.pop(key, None) is not None
    before = kept.get(key)
    kept[key] = new
    return before != new
