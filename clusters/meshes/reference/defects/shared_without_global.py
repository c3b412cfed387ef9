"""`shared: "true"` is taken for enough: a service that is not global is shared by it.

Models cilium/cilium#23298 (part C, 39): remote services that carried the shared annotation without the global one
were merged into a peer's global service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import GLOBAL, SHARED
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        if any(service.annotations.get(key) == "true" for key in SHARED):
            service = replace(service, annotations={**service.annotations, GLOBAL[0]: "true"})
        return healthy.select(member, service, endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="shared_without_global",
    models="C39 cilium/cilium#23298",
    requirement="DISC-03",
    expectation="nobody uses backends that the flow chart keeps from them",
    stays_green=("DISC-01", "DISC-02", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
