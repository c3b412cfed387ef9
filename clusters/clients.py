"""Clients of the `kubernetes` library: one for each cluster, every call bounded, and none that writes what is not ours.

The library is imported inside the functions, since most of meshproof never needs it and it costs 0.3 s. The global
configuration is never touched, and no kubeconfig is ever written: each client is made from its cluster's kubeconfig and
context alone. A kubeconfig is read once and again when it has changed. What a credential plugin gave is used until it
expires, by all clients of the cluster; the library then runs the plugin again.

Every request of every API class ends in `_held`, so that is where a request to somebody else's cluster is judged
(`ownership.refusal`). Exec goes by another way, and only ever into a pod that its caller made.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshproof.clusters.fleet import Cluster, Writes
from meshproof.clusters.ownership import NotOurs, refusal

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

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
    client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]  # the library is half typed
        config_file=str(cluster.kubeconfig),
        context=cluster.context,
        persist_config=False,
        client_configuration=configuration,
    )
    return _held(client, cluster)


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
