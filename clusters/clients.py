"""Clients of the `kubernetes` library: one for each cluster, every call bounded, and none that writes what is not ours.

The library is imported inside the functions, since most of meshproof never needs it and it costs 0.3 s. The global
configuration is never touched, and no kubeconfig is ever written: each client is made from its cluster's kubeconfig and
context alone. A kubeconfig is read once, and again when it has changed. A token that a plugin gave serves every client
of the cluster until it expires; the library then runs the plugin again.

Every request of every API class ends in `_held`, so that is where a request to somebody else's cluster is judged
(`ownership.refusal`). Exec goes by another way, and only ever into a pod that its caller made.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from meshproof.clusters.fleet import Cluster, Writes
from meshproof.clusters.ownership import NotOurs, refusal

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
RENEWAL_SECONDS = 60.0
DISTURBED_MAX = 3

_T = TypeVar("_T")

# The library writes inlined certificates to temporary files that it shares between threads before they are written.
_READING = threading.Lock()


def client_for(cluster: Cluster) -> ApiClient:
    """A new client for this cluster. Each call through it takes at most 5 s to connect and 30 s between two reads,
    unless its caller passes `_request_timeout`.

    Raises kubernetes.config.ConfigException when the kubeconfig or its context cannot be used, and its calls `NotOurs`.
    Close it after use.
    """
    from kubernetes.client import ApiClient

    return _held(ApiClient(configuration=kept_client(cluster).configuration), cluster)


def kept_client(cluster: Cluster) -> ApiClient:
    """The client that all threads share; urllib3's pool hands each request a connection of its own. Raises as above."""
    with _READING:  # a credential plugin that asks a person something asks once
        return _kept(cluster, _changed(cluster.kubeconfig))


def parts(kubeconfig: Path) -> list[Path]:
    """The files of a kubeconfig, which may be several as in $KUBECONFIG."""
    return [Path(part) for part in str(kubeconfig).split(os.pathsep) if part]


def _changed(kubeconfig: Path) -> tuple[int, ...]:
    return tuple(part.stat().st_mtime_ns if part.exists() else 0 for part in parts(kubeconfig))


@functools.lru_cache(maxsize=64)
def _kept(cluster: Cluster, _: tuple[int, ...]) -> ApiClient:
    from kubernetes import config
    from kubernetes.client import Configuration

    configuration: Configuration = type.__call__(Configuration)  # some versions make Configuration() the global one
    configuration.retries = False
    client: ApiClient = _undisturbed(
        lambda: config.new_client_from_config(  # type: ignore[no-untyped-call]  # the library is half typed
            config_file=str(cluster.kubeconfig),
            context=cluster.context,
            persist_config=False,
            client_configuration=configuration,
        )
    )
    settings: Any = configuration
    if settings.refresh_api_key_hook is not None:
        settings.refresh_api_key_hook = _Renewal(settings.refresh_api_key_hook)
    return _held(client, cluster)


class _Renewal:
    """The library's own look at whether a token has expired, now and then, and by one thread at a time.

    It would look before every request, and set the whole configuration anew each time, under the feet of all threads.
    It counts a token as expired 5 min before it is, so a look a minute is enough. Limit: a certificate that a plugin
    gave is not looked at; one that expires within a run ends it.
    """

    def __init__(self, look: Callable[[Any], None]) -> None:
        self._look, self._lock = look, threading.Lock()
        self._next = time.monotonic() + RENEWAL_SECONDS

    def __call__(self, configuration: Any) -> None:
        if time.monotonic() < self._next:
            return
        with self._lock:
            if time.monotonic() < self._next:
                return
            _undisturbed(lambda: self._look(configuration))
            configuration.refresh_api_key_hook = self  # it has put itself back there
            self._next = time.monotonic() + RENEWAL_SECONDS


def _undisturbed(work: Callable[[], _T]) -> _T:
    """The library goes through the environment for proxies, while pytest notes the current test there (KeyError)."""
    for _ in range(DISTURBED_MAX):
        try:
            return work()
        except KeyError:
            continue
    return work()


def _held(client: ApiClient, cluster: Cluster) -> ApiClient:
    """The client, bounded and, in a cluster somebody else made, kept from writing what is not ours."""
    rest: Any = client.rest_client
    rest.request = _bounded(rest.request, cluster)
    return client


def _bounded(request: Callable[..., Any], cluster: Cluster) -> Callable[..., Any]:
    def bounded(method: str, url: str, *arguments: Any, **options: Any) -> Any:
        if cluster.writes is not Writes.ALL and (why := _refused(cluster, method, url, options.get("body"))):
            raise NotOurs(
                f"cluster {cluster.name} is somebody else's, {method} {urlsplit(url).path} was not sent: {why}"
            )
        if options.get("_request_timeout") is None:
            options["_request_timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        return request(method, url, *arguments, **options)

    return bounded


def _refused(cluster: Cluster, method: str, url: str, body: object) -> str:
    """The path below the server's own, which may have one (a proxy in front of many clusters does)."""
    path = urlsplit(url).path
    server = urlsplit(str(kept_client(cluster).configuration.host)).path.rstrip("/")
    return refusal(cluster.writes, method, path.removeprefix(server), body)
