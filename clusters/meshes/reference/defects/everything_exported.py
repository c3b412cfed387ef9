"""A cluster exports all its services, global or not.

Models cilium/cilium#26049 (part C, 40): the clustermesh-apiserver exported every service. A peer's global service of
the same name then takes in pods that nobody offered. What says `shared: "false"`, and what lies in a namespace that
is not global, stays at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        unmarked = {key: value for key, value in service.annotations.items() if key not in GLOBAL}
        everything = replace(service, annotations={**unmarked, GLOBAL[0]: "true"})
        return healthy.select(member, everything, endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="everything_exported",
    models="C40 cilium/cilium#26049",
    requirement="DISC-03",
    expectation="nobody uses backends that the flow chart keeps from them",
    stays_green=("DISC-01", "DISC-02", "DISC-04", "DISC-05", "DISC-07", "DISC-08", "DISC-09", "DISC-12", "DISC-13"),
    wrap=wrap,
)
