"""Kubernetes events about pods, posted by one thread, best effort: a lost event never holds up a pod."""

from __future__ import annotations

import collections
import queue
import secrets
import threading
from collections.abc import Mapping
from typing import Any

from meshproof.clusters.embedded.nodeagent import status
from meshproof.clusters.rest import Api, ApiError

Object = Mapping[str, Any]

REMEMBERED = 512
QUEUED = 1000


class Events:
    """Posts events; a repeated one raises the count of the first. Thread-safe."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue: queue.Queue[tuple[tuple[str, ...], dict[str, Any]]] = queue.Queue(QUEUED)
        self._known: collections.OrderedDict[tuple[str, ...], tuple[str, int]] = collections.OrderedDict()
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def normal(self, pod: Object, reason: str, message: str, container: str = "") -> None:
        self._put("Normal", pod, reason, message, container)

    def warning(self, pod: Object, reason: str, message: str, container: str = "") -> None:
        self._put("Warning", pod, reason, message, container)

    def _put(self, kind: str, pod: Object, reason: str, message: str, container: str) -> None:
        metadata = pod["metadata"]
        moment = status.now()
        event = {
            "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{secrets.token_hex(8)}"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                **({"fieldPath": f"spec.containers{{{container}}}"} if container else {}),
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "kubelet", "host": pod["spec"].get("nodeName", "")},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            self._queue.put_nowait(((metadata["uid"], container, reason, message), event))
        except queue.Full:
            pass

    def _run(self) -> None:
        while True:
            key, event = self._queue.get()
            path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
            name, count = self._known.pop(key, ("", 0))
            try:
                if name:
                    self._api.patch(f"{path}/{name}", {"count": count + 1, "lastTimestamp": event["lastTimestamp"]})
                else:
                    name = event["metadata"]["name"]
                    self._api.post(path, event)
            except ApiError:
                continue
            self._known[key] = (name, count + 1)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
