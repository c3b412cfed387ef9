"""An annotation that was taken away goes on counting: a service once unshared stays so until it says "true" in words.

Models cilium/cilium#48050 (part C, 4): what had been deleted was not noticed until something else was written. Here
it is the annotation `shared`, of which the exporter remembers what it said last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.selection import SHARED
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    said: dict[Key, str] = {}

    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        now = [service.annotations[key] for key in SHARED if key in service.annotations]
        if now:
            said[service.key] = now[0]
        elif service.key in said:
            service = replace(service, annotations={**service.annotations, SHARED[0]: said[service.key]})
        return healthy.select(member, service, endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="reshare_ignored",
    models="C4 cilium/cilium#48050",
    requirement="DISC-05",
    expectation="the peer uses the far backends again",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-07", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
