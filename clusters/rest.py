"""A small REST client for the fleet's own agents: one API server, client certificates, list and watch.

The agents start with every fleet, a dozen at a time on two cores, and will run from Debian
packages inside kind nodes; the `kubernetes` package costs each of them 0.4 s and 50 MB and is
not needed for seven verbs. Anything that reads a person's kubeconfig uses `clusters.api` instead.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import urllib3

Object = dict[str, Any]
Key = tuple[str, str]

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
WATCH_SECONDS = 120
RECONNECT_SECONDS = 0.25
TELL_AGAIN_SECONDS = 1.0
# A peer that vanishes without a FIN is noticed in about ten seconds, not at the watch's end.
KEEPALIVE = [
    *urllib3.connection.HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class ApiError(Exception):
    """The API server answered with an error, or did not answer in a way that can be read (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """One API server as one user. Thread-safe; every call has a time-out (`seconds`)."""

    def __init__(self, server: str, ca: str, cert: str, key: str, seconds: float = 10.0) -> None:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        self._server = server.rstrip("/")
        self._seconds = seconds
        self._pool = urllib3.PoolManager(ssl_context=context, maxsize=16, retries=False, socket_options=KEEPALIVE)

    def get(self, path: str, **query: str) -> Object:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Object) -> Object:
        return self._call("POST", path, body=body)

    def put(self, path: str, body: Object) -> Object:
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Any, kind: str = "merge") -> Object:
        return self._call("PATCH", path, body=body, content_type=PATCH_TYPES[kind])

    def delete(self, path: str, body: Object | None = None) -> Object:
        return self._call("DELETE", path, body=body)

    def ready(self) -> bool:
        """Whether the API server says it is ready; False also when it does not answer."""
        try:
            response = self._pool.request("GET", f"{self._server}/readyz", timeout=urllib3.Timeout(connect=1, read=2))
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200

    def watch(self, path: str, resource_version: str, **query: str) -> Iterator[Object]:
        """Events after `resource_version` until the server ends the watch. Raises ApiError (410 when too old)."""
        fields = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = urllib3.Timeout(connect=self._seconds, read=WATCH_SECONDS + self._seconds)
        try:
            response = self._pool.request(
                "GET", self._server + path, fields=fields, timeout=timeout, preload_content=False
            )
            try:
                if response.status >= 400:
                    raise _error(response.status, response.read())
                for line in _lines(response):
                    event = _decoded(line)
                    if event.get("type") == "ERROR":
                        status = event["object"]
                        raise ApiError(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
                    yield event
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, "Unreachable", str(error)) from error

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        url = self._server + path
        if query:
            url += "?" + urllib.parse.urlencode(query)
        try:
            response = self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type, "Accept": "application/json"},
                timeout=urllib3.Timeout(connect=self._seconds, read=self._seconds),
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, "Unreachable", str(error)) from error
        if response.status >= 400:
            raise _error(response.status, response.data)
        return _decoded(response.data)


class Mirror:
    """A live copy of one resource list, kept by list and watch in a thread of its own.

    `on_change(type, object)` is called from that thread with ADDED, MODIFIED or DELETED, and with
    SYNCED (and an empty object) after each full list. An unreachable API server keeps the last copy.
    A change that `on_change` raised on is put back, its traceback printed, and is told again after a new list.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        query: Mapping[str, str] | None = None,
        on_change: Callable[[str, Object], None] | None = None,
    ) -> None:
        self.synced = threading.Event()
        self._api = api
        self._path = path
        self._query = dict(query or {})
        self._on_change = on_change or (lambda kind, thing: None)
        self._items: dict[Key, Object] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._untold = False
        self._thread = threading.Thread(target=self._run, name=f"mirror {path}", daemon=True)

    def start(self) -> Mirror:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ask the thread to end; it does at the next event or the watch's end (daemon, so exit need not wait)."""
        self._stop.set()

    def snapshot(self) -> dict[Key, Object]:
        """(namespace, name) -> object, as last seen. The objects are shared: do not change them."""
        with self._lock:
            return dict(self._items)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._untold = False
                version = self._list()
                while not self._stop.is_set() and not self._untold:
                    version = self._follow(version)
                if self._untold:
                    self._stop.wait(TELL_AGAIN_SECONDS)
            except ApiError:
                self._stop.wait(RECONNECT_SECONDS)
            except Exception:  # noqa: BLE001 - an object we cannot read must not leave a stale copy that looks alive
                traceback.print_exc()
                self._stop.wait(TELL_AGAIN_SECONDS)

    def _list(self) -> str:
        answer = self._api.get(self._path, **self._query)
        fresh = {key_of(item): item for item in answer.get("items") or []}
        with self._lock:
            before, self._items = self._items, dict(fresh)
        for key, item in fresh.items():
            old = before.get(key)
            if old is None:
                self._tell("ADDED", item, None)
            elif _version(old) != _version(item):
                self._tell("MODIFIED", item, old)
        for key in before.keys() - fresh.keys():
            self._tell("DELETED", before[key], before[key])
        self.synced.set()
        self._tell("SYNCED", {}, None)
        return _version(answer)

    def _follow(self, version: str) -> str:
        started = time.monotonic()
        for event in self._api.watch(self._path, version, **self._query):
            item = event["object"]
            version = _version(item)
            if event["type"] == "BOOKMARK":
                continue
            with self._lock:
                before = self._items.get(key_of(item))
                if event["type"] == "DELETED":
                    self._items.pop(key_of(item), None)
                else:
                    self._items[key_of(item)] = item
            self._tell(event["type"], item, before)
            if self._stop.is_set() or self._untold:
                break
        if time.monotonic() - started < RECONNECT_SECONDS:
            self._stop.wait(RECONNECT_SECONDS)  # a server that ends watches at once must not be hammered
        return version

    def _tell(self, kind: str, item: Object, before: Object | None) -> None:
        """Call the listener; what it could not take is as it was `before`, so that the next list tells it again."""
        try:
            self._on_change(kind, item)
        except Exception:  # noqa: BLE001 - a fault of the listener must not end the mirror and leave its copy stale
            traceback.print_exc()
            self._untold = True
            if item:
                with self._lock:
                    if before is None:
                        self._items.pop(key_of(item), None)
                    else:
                        self._items[key_of(item)] = before


def key_of(item: Object) -> Key:
    """(namespace, name); the namespace is empty for cluster-scoped objects."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(item: Object) -> str:
    return str(item["metadata"].get("resourceVersion", ""))


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    pending = b""
    for chunk in response.stream(65536):
        pending += chunk
        *whole, pending = pending.split(b"\n")
        yield from (line for line in whole if line)


def _decoded(body: bytes) -> Object:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiError(0, "Unreadable", body[:200].decode(errors="replace"))
    return answer


def _error(status: int, body: bytes) -> ApiError:
    try:
        answer = _decoded(body)
    except ApiError as unreadable:
        return ApiError(status, "", unreadable.message)
    return ApiError(status, answer.get("reason", ""), answer.get("message", ""))
