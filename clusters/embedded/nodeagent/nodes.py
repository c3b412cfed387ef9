"""The cluster's nodes as the API sees them: registered, kept alive by leases, and the pod range each was given.

Which range a node gets is the controller manager's choice and read from the Node, never predicted.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded.nodeagent import sandbox, status
from meshproof.clusters.embedded.nodeagent.settings import NodeSettings
from meshproof.clusters.rest import Api, ApiError

Object = Mapping[str, Any]

LEASE_SECONDS = 40
RENEW_SECONDS = 4.0
REPORT_SECONDS = 60.0
RETRY_SECONDS = 0.25
NOT_FOUND = 404
PORT = 10250
PODS = "110"


class Node:
    """One node: its settings, and its addresses once it has a pod range. Thread-safe."""

    def __init__(self, settings: NodeSettings, scratch: Path, taken: Callable[[str], Iterable[str]]) -> None:
        self.settings = settings
        self.pod_range = ""
        self._cursor = scratch / f"{settings.name}.last"
        self._taken = taken
        self._addresses: sandbox.Addresses | None = None
        self._lock = threading.Lock()

    def assign(self, pod_range: str) -> None:
        """Told of spec.podCIDR; the route to it is made here."""
        if pod_range and pod_range != self.pod_range:
            sandbox.route_range(pod_range, self.settings.address, self.settings.netns)
            self.pod_range = pod_range

    def take(self, wanted: str) -> tuple[str, str]:
        """(pod address, gateway). Raises OSError when the node has no range yet or no address left."""
        with self._lock:
            if self._addresses is None:
                if not self.pod_range:
                    raise OSError(f"node {self.settings.name} has no pod range yet")
                after = self._cursor.read_text() if self._cursor.exists() else ""
                self._addresses = sandbox.Addresses(self.pod_range, self._taken(self.settings.name), after)
            address = self._addresses.take(wanted)
            self._cursor.write_text(address)
            return address, self._addresses.gateway

    def give_back(self, address: str) -> None:
        if self._addresses is not None:
            self._addresses.give_back(address)


def node_object(settings: NodeSettings, cluster: str) -> dict[str, Any]:
    """The Node to create, with the status that makes it schedulable at once."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.name,
            "labels": {
                "kubernetes.io/hostname": settings.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": _architecture(),
                "topology.kubernetes.io/zone": cluster,
                "topology.kubernetes.io/region": cluster,
            },
        },
        "spec": {},
        "status": node_status(settings),
    }


def node_status(settings: NodeSettings) -> dict[str, Any]:
    """The whole status of a healthy node, from now on."""
    moment = status.now()
    capacity = {"cpu": str(os.cpu_count() or 1), "memory": _memory(), "pods": PODS, "ephemeral-storage": "10Gi"}
    healthy = {
        "Ready": ("True", "KubeletReady", "the node agent is posting ready status"),
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "not measured"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "not measured"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "not measured"),
    }
    return {
        "addresses": [
            {"type": "InternalIP", "address": settings.address},
            {"type": "Hostname", "address": settings.name},
        ],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": moment,
                "lastTransitionTime": moment,
            }
            for kind, (value, reason, message) in healthy.items()
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        # Without it the API server turns a client's WebSocket into SPDY, which nobody here speaks.
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        "nodeInfo": {
            "architecture": _architecture(),
            "operatingSystem": "linux",
            "kernelVersion": platform.release(),
            "osImage": "meshproof embedded node",
            "containerRuntimeVersion": "meshproof://1",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "machineID": uuid.uuid5(uuid.NAMESPACE_DNS, settings.name).hex,
            "systemUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, settings.name)),
            "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        },
    }


class Heartbeat:
    """Registers the nodes and renews their leases, in one thread."""

    def __init__(self, api: Api, cluster: str, nodes: Iterable[NodeSettings]) -> None:
        self._api = api
        self._cluster = cluster
        self._nodes = tuple(nodes)
        self._reported: dict[str, float] = {}
        self._wake = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def doubted(self, node: str) -> None:
        """Somebody says the node is not ready: say that it is, at once."""
        self._reported.pop(node, None)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = RENEW_SECONDS
            for node in self._nodes:
                try:
                    self._report(node)
                    self._renew(node)
                except ApiError:
                    self._reported.pop(node.name, None)
                    pause = RETRY_SECONDS
            self._wake.wait(pause)

    def _report(self, node: NodeSettings) -> None:
        """Tell the whole status first, later only that it still holds."""
        last = self._reported.get(node.name)
        if last is not None and time.monotonic() - last < REPORT_SECONDS:
            return
        content = node_status(node)
        if last is not None:
            for condition in content["conditions"]:
                del condition["lastTransitionTime"]
        try:
            self._api.patch(f"/api/v1/nodes/{node.name}/status", {"status": content}, kind="strategic")
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._api.post("/api/v1/nodes", node_object(node, self._cluster))
        self._reported[node.name] = time.monotonic()

    def _renew(self, node: NodeSettings) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": moment}
        try:
            self._api.patch(f"{leases}/{node.name}", {"spec": spec})
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            try:
                self._api.post(leases, {**kind, "metadata": {"name": node.name}, "spec": spec})
            except ApiError as inner:
                if inner.status != NOT_FOUND:  # the namespace comes a moment after the API server
                    raise


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 1024}Ki"
