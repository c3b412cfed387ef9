"""Switches defects on and off in a running component: the only place that knows of switching.

It follows kube-system/reference-mesh-config, gives the component the pipeline that its key `defects` asks for,
and acknowledges in the component's status once everything was evaluated anew. Unknown names are told
in the status and then none is in force.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Protocol

from meshproof.clusters.meshes.reference.defects import UnknownDefect, named, wrapped
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Outlook

SECONDS_TO_SETTLE = 8.0

log = logging.getLogger(__name__)


class Component(Protocol):
    """An exporter or an agent."""

    here: Site

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether everything was evaluated anew within `seconds`."""
        ...


class Toggle:
    """A thread that keeps `component` as the ConfigMap says. No ConfigMap means healthy."""

    def __init__(self, outlook: Outlook, component: Component, reporter: Reporter) -> None:
        self._outlook = outlook
        self._component = component
        self._reporter = reporter
        self._acknowledged: tuple[str, ...] | None = None
        threading.Thread(target=self._run, name="toggle", daemon=True).start()

    def _run(self) -> None:
        in_force: tuple[str, ...] | None = None
        while True:
            self._outlook.configured.wait()
            self._outlook.configured.clear()
            if (configuration := self._outlook.configuration()) is None:
                continue
            wanted = _names(configuration)
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
        pipeline = wrapped(defects, self._component.here)
        while not self._component.use(pipeline, SECONDS_TO_SETTLE):
            self._reporter.acknowledge(self._acknowledged, f"defects {names}: not in force yet")
            if self._outlook.configured.is_set():
                return False
        self._acknowledged = names
        self._reporter.acknowledge(names, complaint)
        return True


def _names(configuration: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name.strip() for name in configuration.get("defects", "").split(",") if name.strip())
