"""A backend that is not ready is told to the peers as if it were.

Models cilium/cilium#43807 (part C, 10; mutant M8): remote endpoints that were not ready, or not serving, were passed
on as ready. One that terminates is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        all_ready = tuple(endpoint if endpoint.terminating else replace(endpoint, ready=True) for endpoint in endpoints)
        return healthy.select(member, service, all_ready, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="not_ready_kept",
    models="C10 cilium/cilium#43807, M8",
    requirement="DISC-17",
    expectation="the not-ready pod gets no new connections",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
