"""A backend that becomes ready is never learned: peers hear of those that were ready at first sight, and of no other.

Models cilium/cilium#19813 (part C, 5; mutant M2): after the restart of a clustermesh-apiserver its peers stopped
receiving updates, so connections looked healthy while no rolled pod was ever used. Here the exporter's view of an
endpoint is frozen as it was first seen: one that was not ready then stays unknown to the peers. Removals still
arrive, and a new service over pods that are ready already is learned whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    late: set[tuple[Key, str]] = set()

    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        late.update((service.key, endpoint.address) for endpoint in endpoints if not endpoint.ready)
        early = tuple(endpoint for endpoint in endpoints if (service.key, endpoint.address) not in late)
        return healthy.select(member, service, early, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="additions_never_arrive",
    models="C5 cilium/cilium#19813, M2",
    requirement="DISC-01",
    expectation="every cluster answers",
    stays_green=("DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13", "DISC-19"),
    wrap=wrap,
)
