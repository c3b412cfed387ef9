"""Switches defects on and off in a running component: the only place that knows of switching.

It watches kube-system/reference-mesh-config, gives the component the pipeline that its key `defects` asks for,
and acknowledges in the component's status once everything was evaluated anew. Unknown names are told
in the status and then none is in force.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Protocol

from meshproof.clusters.meshes.reference.defects import UnknownDefect, named, wrapped
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.rest import Api, Mirror, Object

PATH = "/api/v1/namespaces/kube-system/configmaps"
NAME = "reference-mesh-config"
SECONDS_TO_SETTLE = 8.0

log = logging.getLogger(__name__)


class Component(Protocol):
    """An exporter or an agent."""

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether everything was evaluated anew within `seconds`."""
        ...


class Toggle:
    """A thread that keeps `component` as the ConfigMap says. No ConfigMap means healthy."""

    def __init__(self, api: Api, component: Component, reporter: Reporter) -> None:
        self._component = component
        self._reporter = reporter
        self._changed = threading.Event()
        self._acknowledged: tuple[str, ...] | None = None
        self._mirror = Mirror(api, PATH, {"fieldSelector": f"metadata.name={NAME}"}, self._on_change).start()
        threading.Thread(target=self._run, name="toggle", daemon=True).start()

    def _on_change(self, _kind: str, _thing: Object) -> None:
        self._changed.set()

    def _run(self) -> None:
        in_force: tuple[str, ...] | None = None
        while True:
            self._changed.wait()
            self._changed.clear()
            if not self._mirror.synced.is_set():
                continue
            wanted = _names(self._mirror.snapshot().values())
            if wanted != in_force:
                in_force = wanted if self._switch(wanted) else None

    def _switch(self, wanted: tuple[str, ...]) -> bool:
        """Whether `wanted` came into force; given up only when something else may be wanted by now."""
        complaint = ""
        try:
            defects = named(wanted)
        except UnknownDefect as error:
            defects, complaint = (), str(error)
        names = tuple(defect.name for defect in defects)
        log.info("defects: %s", ", ".join(names) or "none")
        pipeline = wrapped(defects)
        while not self._component.use(pipeline, SECONDS_TO_SETTLE):
            self._reporter.acknowledge(self._acknowledged, f"defects {names}: not in force yet")
            if self._changed.is_set():
                return False
        self._acknowledged = names
        self._reporter.acknowledge(names, complaint)
        return True


def _names(found: Iterable[Object]) -> tuple[str, ...]:
    """The names in the one ConfigMap, if there is one."""
    for item in found:
        text = (item.get("data") or {}).get("defects", "")
        return tuple(name.strip() for name in text.split(",") if name.strip())
    return ()
