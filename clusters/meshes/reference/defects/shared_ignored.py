"""A cluster that says `shared: "false"` goes on sharing.

Models cilium/cilium#18766 (part C, 42; mutant M3): changing the annotation of a service that was already shared had
no effect, and peers went on using its backends. Here the exporter does not see the annotation at all, under either of
its names; `global` still counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import SHARED
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        seen = {key: value for key, value in service.annotations.items() if key not in SHARED}
        return healthy.select(member, replace(service, annotations=seen), endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="shared_ignored",
    models="C42 cilium/cilium#18766, M3",
    requirement="DISC-04",
    expectation="the peer stops using the unshared backends",
    stays_green=("DISC-01", "DISC-02", "DISC-06", "DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
