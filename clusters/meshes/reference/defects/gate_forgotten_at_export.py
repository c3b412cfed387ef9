"""A namespace that takes no part takes nothing from the mesh, and gives to it.

Models cilium/cilium#46090 (part C, 45; mutant M20) on the other side. An adversary showed that the suite let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import NAMESPACE_GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, service, endpoints, {**namespace, NAMESPACE_GLOBAL[0]: "true"})

    return replace(healthy, select=select)


DEFECT = Defect(
    name="gate_forgotten_at_export",
    models="C45 cilium/cilium#46090, M20 (at export)",
    requirement="DISC-08",
    expectation="where only one of them takes part, each cluster stays by itself",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-06", "DISC-07", "DISC-12", "DISC-13"),
    wrap=wrap,
)
