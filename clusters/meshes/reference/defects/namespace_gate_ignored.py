"""The namespace has no say: a global service is shared and merged wherever it lies.

Models cilium/cilium#46090 (part C, 45; mutant M20) turned round: the gate was there and undocumented; here it is
documented and not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import NAMESPACE_GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, service, endpoints, {**namespace, NAMESPACE_GLOBAL[0]: "true"})

    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(service, endpoints, {**namespace, NAMESPACE_GLOBAL[0]: "true"}, remote, node)

    return replace(healthy, select=select, merge=merge)


DEFECT = Defect(
    name="namespace_gate_ignored",
    models="C45 cilium/cilium#46090, M20",
    requirement="DISC-08",
    expectation="a Service of a namespace that is not global stays local",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
