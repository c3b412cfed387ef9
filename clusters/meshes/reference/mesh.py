"""The reference mesh as the suite meets it: what it is, what it says of itself, and how to break it.

Harness side: talks to the API servers as the person who runs the suite, never to a component. What
the components say is evidence; verdicts come from traffic.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from meshproof import __version__
from meshproof.clusters.fleet import Cluster, Feature, Fleet, MeshIdentity
from meshproof.clusters.meshes.reference.defects import named
from meshproof.clusters.meshes.reference.settings import CONFIG, DEFAULTS

NAMESPACE = "kube-system"
STATUS = "reference-mesh-status"
SECONDS_BETWEEN_LOOKS = 0.1
CALL_SECONDS = 5.0


class MeshNotAsAsked(Exception):
    """The mesh did not reach the asked-for state in time: our tool's failing, never a verdict on a network."""


@dataclass(frozen=True, slots=True)
class ReferenceMesh:
    """The mesh of clusters/meshes/reference (a `Mesh`). Stateless: all state is in the clusters."""

    def identity(self) -> MeshIdentity:
        return MeshIdentity("meshproof reference mesh", __version__, "says nothing about Cilium or AKS")

    def features(self) -> frozenset[Feature]:
        """All but endpoint slice synchronisation: headless services stay local, as upstream has it by default."""
        return frozenset(Feature) - {Feature.ENDPOINT_SYNC}

    def lacks(self) -> Mapping[Feature, str]:
        """Nothing: what it does not offer is listed in docs/support.yaml, and nowhere else."""
        return {}

    def configuration(self, cluster: Cluster) -> Mapping[str, str]:
        """The data of the configuration ConfigMap; empty when there is none."""
        return _config_map(cluster, CONFIG)

    def status(self, cluster: Cluster) -> Mapping[str, object]:
        """Component name -> what it last wrote, decoded (shape: SPEC, 'Agents' entry points')."""
        return _status(cluster)

    def active_defects(self, fleet: Fleet) -> frozenset[str]:
        """Every defect that any component of any cluster says is in force."""
        return frozenset(
            name for cluster in fleet.clusters for said in _status(cluster).values() for name in said["defects"] or ()
        )

    def set_defects(self, fleet: Fleet, names: Iterable[str], within_seconds: float) -> None:
        """Have exactly these defects in force everywhere; returns when every component acknowledged.

        Raises UnknownDefect before anything is touched, and MeshNotAsAsked naming who did not acknowledge.
        """
        wanted = [defect.name for defect in named(names)]

        def lagging(cluster: Cluster) -> list[str]:
            return [
                f"{cluster.name}/{component}: {said.get('error') or said.get('defects', 'no status')}"
                for component, said in _components(cluster).items()
                if said.get("defects") != wanted
            ]

        until = time.monotonic() + within_seconds
        _each(fleet, lambda cluster: _configure(cluster, {"defects": ",".join(wanted)}))
        _wait(fleet, lagging, until, f"defects {wanted} not acknowledged within {within_seconds:g} s by")

    def configure(
        self, fleet: Fleet, settings: Mapping[str, str | None], within_seconds: float
    ) -> Mapping[str, Mapping[str, str | None]]:
        """Have these settings in force in every cluster (None: the default); returns when every component says so.

        The answer is what each cluster had before, cluster name -> settings, None where it had the default. Keys and
        values: `settings`. Raises ValueError for an unknown key, before anything is touched, and MeshNotAsAsked.
        """
        if unknown := settings.keys() - DEFAULTS.keys():
            raise ValueError(f"no such setting: {', '.join(sorted(unknown))}; known: {', '.join(DEFAULTS)}")
        before = {
            cluster.name: {key: held.get(key) for key in settings}
            for cluster in fleet.clusters
            for held in [self.configuration(cluster)]
        }
        wanted = {key: DEFAULTS[key] if value is None else value for key, value in settings.items()}

        def lagging(cluster: Cluster) -> list[str]:
            return [
                f"{cluster.name}/{component}: {said.get('error') or said.get('settings', 'no status')}"
                for component, said in _components(cluster).items()
                if said.get("error") or not wanted.items() <= said.get("settings", {}).items()
            ]

        until = time.monotonic() + within_seconds
        _each(fleet, lambda cluster: _configure(cluster, settings))
        _wait(fleet, lagging, until, f"settings {wanted} not acknowledged within {within_seconds:g} s by")
        return before


def _wait(fleet: Fleet, lagging: Callable[[Cluster], list[str]], until: float, complaint: str) -> None:
    while lag := _each(fleet, lagging):
        if time.monotonic() > until:
            raise MeshNotAsAsked(f"reference mesh: {complaint} {'; '.join(lag)}")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _each(fleet: Fleet, ask: Callable[[Cluster], list[str]]) -> list[str]:
    """The answers of all clusters, asked side by side."""
    with ThreadPoolExecutor(len(fleet.clusters)) as pool:
        return [line for answer in pool.map(ask, fleet.clusters) for line in answer]


def _components(cluster: Cluster) -> dict[str, Any]:
    """Every component that the cluster should have -> its status, empty when it has said nothing."""
    from kubernetes.client import CoreV1Api

    from meshproof.clusters.api import client_for

    with client_for(cluster) as client:
        nodes = CoreV1Api(client).list_node(_request_timeout=CALL_SECONDS).items
    said = _status(cluster)
    expected = ["exporter", *(f"agent-{node.metadata.name}" for node in nodes if node.metadata)]
    return {component: said.get(component, {}) for component in expected}


def _status(cluster: Cluster) -> dict[str, Any]:
    return {component: json.loads(text) for component, text in _config_map(cluster, STATUS).items()}


def _config_map(cluster: Cluster, name: str) -> dict[str, str]:
    """Its data, empty when there is no such ConfigMap."""
    from kubernetes.client import ApiException, CoreV1Api

    from meshproof.clusters.api import client_for

    with client_for(cluster) as client:
        try:
            found = CoreV1Api(client).read_namespaced_config_map(name, NAMESPACE, _request_timeout=CALL_SECONDS)
        except ApiException as error:
            if error.status == 404:
                return {}
            raise
    return dict(found.data or {})


def _configure(cluster: Cluster, data: Mapping[str, str | None]) -> list[str]:
    """Write the configuration ConfigMap, creating it if need be; nothing to complain of."""
    from kubernetes.client import ApiException, CoreV1Api, V1ConfigMap, V1ObjectMeta

    from meshproof.clusters.api import client_for

    with client_for(cluster) as client:
        api = CoreV1Api(client)
        try:
            # as a dict: from a model the library would leave out what is None, which here means "remove"
            api.patch_namespaced_config_map(CONFIG, NAMESPACE, {"data": dict(data)}, _request_timeout=CALL_SECONDS)
        except ApiException as error:
            if error.status != 404:
                raise
            given = {key: value for key, value in data.items() if value is not None}
            body = V1ConfigMap(metadata=V1ObjectMeta(name=CONFIG), data=given)
            api.create_namespaced_config_map(NAMESPACE, body, _request_timeout=CALL_SECONDS)
    return []
