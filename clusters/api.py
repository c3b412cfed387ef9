"""The harness's seam to Kubernetes: one request, a watch, and exec, every call bounded.

Nothing is retried, not even a read: who wants to wait polls against a deadline, and sees every failure. How clients
come about, and what none of them may send to clusters somebody else made, is in `clients`.

`call` is one request in plain JSON on a client that is kept for the cluster: making a client and its TLS connection
anew costs 12 ms of processor time, and turning an answer into the library's objects 1 ms for each pod in it.

`exec_in` runs a command in a pod on a fresh client and connection. What it returns is evidence of the command's
output only. The exit code is recorded and decides nothing, for the frame that carries it may get lost: whether an
output is whole is for its reader to tell, from the output. Every failure is an `ExecFailed`, holding what arrived
until then. Limits: no stdin, no terminal; an output is held in memory; a connection attempt that hangs beyond the
deadline is left to its thread, which closes what it may still get (the library cannot be given a time-out for it).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3

from meshproof.clusters.clients import CONNECT_SECONDS, READ_SECONDS, client_for, kept_client
from meshproof.clusters.fleet import Cluster

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

__all__ = ["ExecFailed", "Executed", "call", "client_for", "described", "exec_in", "watch"]


@dataclass(frozen=True, slots=True)
class Executed:
    """What came back from a pod. Times are readings of this host's `time.monotonic()`, in seconds."""

    stdout: bytes
    stderr: bytes
    error: str | None
    """Why the command did not succeed, as the cluster tells it; None when it did, or when no status came."""
    code: int | None
    """The exit code; None when the cluster did not tell."""
    started: float
    first: float | None
    """When the first bytes of stdout were here; None when none came."""
    ended: float


class ExecFailed(Exception):
    """The exec did not run to its end, as far as we know. `executed` is what arrived until then."""

    def __init__(self, detail: str, executed: Executed) -> None:
        super().__init__(detail)
        self.detail, self.executed = detail, executed


def call(
    cluster: Cluster,
    method: str,
    path: str,
    body: object = None,
    *,
    query: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> dict[str, Any]:
    """One request to this cluster's API server, such as ("GET", "/api/v1/nodes"), and its answer. From any thread.

    Raises kubernetes.client.ApiException with the status and body of a refusal, urllib3's HTTPError when there is no
    answer. A kubeconfig that was rewritten counts at once.
    """
    from kubernetes.client import ApiException

    client = kept_client(cluster)
    serialized = client.param_serialize(
        method=method,
        resource_path=path,
        query_params=list((query or {}).items()),
        header_params={"Accept": "application/json", "Content-Type": content_type},
        body=body,
        auth_settings=["BearerToken"],
    )
    response: Any = client.call_api(*serialized)
    data: bytes = response.read()
    if response.status >= 400:
        raise ApiException(status=response.status, reason=response.reason, body=data.decode("utf-8", "replace"))
    answer: dict[str, Any] = json.loads(data)
    return answer


def watch(
    cluster: Cluster, path: str, query: Mapping[str, str], seconds: int
) -> Iterator[tuple[float, dict[str, Any]]]:
    """What changes below `path`, for so many seconds: the `time.monotonic()` at which each event came, and the event.

    Raises kubernetes.client.ApiException when it is refused, urllib3's HTTPError when the connection breaks.
    """
    from kubernetes.client import ApiException

    client = client_for(cluster)
    asked = {**query, "watch": "true", "timeoutSeconds": str(seconds)}
    method, url, headers, _, _ = client.param_serialize(
        method="GET",
        resource_path=path,
        query_params=list(asked.items()),
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
    )
    limits = (CONNECT_SECONDS, seconds + READ_SECONDS)
    response: Any = client.rest_client.pool_manager.request(
        method, url, headers=headers, preload_content=False, timeout=urllib3.Timeout(*limits), retries=False
    )
    try:
        if response.status >= 400:
            raise ApiException(status=response.status, reason=response.reason, body=response.read().decode())
        pending = b""
        for chunk in response.stream(65_536):
            now = time.monotonic()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in filter(None, lines):
                yield now, json.loads(line)
    finally:
        response.close()


def exec_in(
    cluster: Cluster, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
) -> Executed:
    """Run `argv` in a container (empty: the pod's default one) and wait, at most `timeout` seconds, until it ends.

    Raises `ExecFailed` when the API server refuses or cannot be reached, when the connection ends without the
    command's status, and when the time is up (the command itself may then still be running).
    """
    exchange = _Exchange(cluster, namespace, pod, container, tuple(argv), time.monotonic() + timeout)
    thread = threading.Thread(target=exchange.run, name=f"exec {cluster.name}/{namespace}/{pod}", daemon=True)
    thread.start()
    if not exchange.done.wait(timeout):
        exchange.abandon()
        raise ExecFailed(f"no end within {timeout:g} s", exchange.executed())
    if exchange.failure is not None:
        raise ExecFailed(exchange.failure, exchange.executed())
    return exchange.executed()


class _Exchange:
    """One exec under way in a thread of its own."""

    def __init__(
        self, cluster: Cluster, namespace: str, pod: str, container: str, argv: tuple[str, ...], deadline: float
    ) -> None:
        self.cluster, self.namespace, self.pod = cluster, namespace, pod
        self.container, self.argv, self.deadline = container, argv, deadline
        self.started = time.monotonic()
        self.first: float | None = None
        self.ended: float | None = None
        self.failure: str | None = None
        self.error: str | None = None
        self.code: int | None = None
        self.done = threading.Event()
        self._abandoned = threading.Event()
        self._parts: dict[int, list[bytes]] = {1: [], 2: [], 3: []}

    def executed(self) -> Executed:
        """What has arrived by now."""
        ended = time.monotonic() if self.ended is None else self.ended
        out, err = b"".join(tuple(self._parts[1])), b"".join(tuple(self._parts[2]))
        return Executed(out, err, self.error, self.code, self.started, self.first, ended)

    def abandon(self) -> None:
        """Let the thread go as soon as it notices."""
        self._abandoned.set()

    def run(self) -> None:
        try:
            with client_for(self.cluster) as client:
                self._converse(client)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller hears of it as ExecFailed
            self.failure = described(error)
        finally:
            self.ended = time.monotonic()
            self.done.set()

    def _converse(self, client: ApiClient) -> None:
        from kubernetes.client import CoreV1Api
        from kubernetes.stream import stream

        options: dict[str, Any] = {"container": self.container} if self.container else {}
        connection = stream(
            CoreV1Api(client).connect_get_namespaced_pod_exec,
            self.pod,
            self.namespace,
            command=list(self.argv),
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
            **options,
        )
        try:
            # Half a frame, or a TLS record without one, would otherwise block beyond any deadline.
            connection.sock.settimeout(max(0.1, self.deadline - time.monotonic()))
            while connection.is_open() and not self._abandoned.is_set():
                connection.update(timeout=max(0.0, min(1.0, self.deadline - time.monotonic())))
                self._take(connection)
        finally:
            self._take(connection)
            connection.sock.shutdown()  # close() leaks the socket when the peer closed first, and else waits for it
        self._conclude()

    def _take(self, connection: Any) -> None:
        for channel, parts in self._parts.items():
            # Not read_channel(): that reads from the socket again, and an error of it would cost what is here already.
            data = connection._channels.pop(channel, b"")  # noqa: SLF001 - see above
            if data and channel == 1 and self.first is None:
                self.first = time.monotonic()
            if data:
                parts.append(data)

    def _conclude(self) -> None:
        """Read the status frame, the last thing a finished command sends."""
        import yaml

        frame = b"".join(self._parts[3])
        if not frame:
            self.failure = "the connection ended without the command's status"
            return
        try:
            status = yaml.safe_load(frame)
            if status["status"] == "Success":
                self.code = 0
                return
            self.error = str(status.get("message") or status.get("reason") or "failed")
            if status.get("reason") != "NonZeroExitCode":
                self.failure = self.error
                return
            causes = {cause["reason"]: cause["message"] for cause in status["details"]["causes"]}
            self.code = int(causes["ExitCode"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
            self.failure = f"a status that cannot be read: {frame[:200]!r}"


def described(error: Exception) -> str:
    """One line: an ApiException's own text spreads over several, and says 'Reason: None' first."""
    status, reason, body = (getattr(error, name, None) for name in ("status", "reason", "body"))
    words = [str(status) if status else "", str(reason or ""), str(body or "")] if status is not None else [str(error)]
    return " ".join(" ".join(filter(None, words)).split())[:500] or type(error).__name__
