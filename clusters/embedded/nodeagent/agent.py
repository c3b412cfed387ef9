"""The agent: nodes, the pods on them, and the kubelet port of each node, wired together."""

from __future__ import annotations

import shutil
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from meshproof.clusters.embedded.nodeagent import images, sandbox, server
from meshproof.clusters.embedded.nodeagent.events import Events
from meshproof.clusters.embedded.nodeagent.house import House
from meshproof.clusters.embedded.nodeagent.keeper import Keeper, Tools
from meshproof.clusters.embedded.nodeagent.logs import Pump
from meshproof.clusters.embedded.nodeagent.nodes import Heartbeat, Node
from meshproof.clusters.embedded.nodeagent.pods import Pod
from meshproof.clusters.embedded.nodeagent.processes import Processes
from meshproof.clusters.embedded.nodeagent.settings import Settings
from meshproof.clusters.rest import Api, Mirror

Object = Mapping[str, Any]

STARTED_AT_ONCE = 4
"""Networks and containers made at the same time: more would only share the same two cores."""


class Agent:
    """One cluster's pods. `run` returns never."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = Api(settings.api["server"], settings.api["ca"], settings.api["cert"], settings.api["key"])
        self._pods: dict[str, Pod] = {}
        self._mirror = Mirror(self._api, "/api/v1/pods", on_change=self._pod_changed)
        self._nodes = {node.name: Node(node, settings.scratch, self._addresses_in_use) for node in settings.nodes}
        self._heartbeat = Heartbeat(self._api, settings.cluster, settings.nodes)
        tools = Tools(
            processes=Processes(),
            pump=Pump().start(),
            events=Events(self._api),
            images=settings.images,
            layers=settings.scratch / "images",
            gate=threading.BoundedSemaphore(STARTED_AT_ONCE),
        )
        server_url = urllib.parse.urlsplit(settings.api["server"])
        resolv = Path("/etc/resolv.conf")
        self._house = House(
            api=self._api,
            tools=tools,
            cluster=settings.cluster,
            scratch=settings.scratch,
            logs=settings.logs,
            dns=settings.dns,
            domain=settings.domain,
            host_resolv=resolv.read_text() if resolv.exists() else "",
            api_address=(server_url.hostname or "", str(server_url.port or 443)),
        )

    def run(self) -> None:
        settings = self._settings
        shutil.rmtree(settings.scratch / "pods", ignore_errors=True)
        images.prepare(settings.images, settings.scratch / "images")
        sandbox.sweep(settings.cluster, [node.netns for node in settings.nodes])
        for node in settings.nodes:
            sandbox.forward(node.netns)
            server.serve(node, settings.serving, self.keeper, self._house.tools.processes)
        self._heartbeat.start()
        Mirror(self._api, "/api/v1/nodes", on_change=self._node_changed).start()
        self._mirror.start()
        threading.Event().wait()

    def keeper(self, namespace: str, pod: str, name: str) -> Keeper | None:
        """The container of that name, for the kubelet port."""
        found = self._mirror.snapshot().get((namespace, pod))
        running = None if found is None else self._pods.get(found["metadata"]["uid"])
        return None if running is None else running.keepers.get(name)

    def _addresses_in_use(self, node: str) -> Iterator[str]:
        """Pod addresses the API knows on a node, so that an agent that starts again gives them to nobody else."""
        for pod in self._mirror.snapshot().values():
            state = pod.get("status") or {}
            if (
                pod["spec"].get("nodeName") == node
                and state.get("podIP")
                and state.get("phase") not in ("Succeeded", "Failed")
            ):
                yield state["podIP"]

    def _node_changed(self, kind: str, node: Object) -> None:
        ours = self._nodes.get(node["metadata"]["name"]) if node else None
        if ours is not None and kind != "DELETED":
            try:
                ours.assign(node["spec"].get("podCIDR") or "")
            except (OSError, NetlinkError):
                traceback.print_exc(file=sys.stderr)  # the mirror's thread must live; the next change tries again
            conditions = (node.get("status") or {}).get("conditions") or []
            if any(entry["type"] == "Ready" and entry["status"] != "True" for entry in conditions):
                self._heartbeat.doubted(ours.settings.name)

    def _pod_changed(self, kind: str, pod: Object) -> None:
        if kind == "SYNCED":
            self._forget_missing()
            return
        node = self._nodes.get(pod["spec"].get("nodeName") or "") if pod else None
        if node is None:
            return
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is not None:
            if kind == "DELETED":
                known.removed()
                del self._pods[uid]
            else:
                known.update(pod)
        elif kind != "DELETED":
            fresh = Pod(self._house, node, pod)
            self._pods[uid] = fresh
            threading.Thread(target=fresh.live, name=f"pod {pod['metadata']['name']}", daemon=True).start()

    def _forget_missing(self) -> None:
        """A full list may show a name under another uid, or not at all: the pod that had it is gone."""
        present = {pod["metadata"]["uid"] for pod in self._mirror.snapshot().values()}
        for uid in self._pods.keys() - present:
            self._pods.pop(uid).removed()
