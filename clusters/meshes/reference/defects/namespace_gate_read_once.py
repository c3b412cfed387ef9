"""What a namespace said when it was first seen counts for ever: taking it out of the mesh changes nothing.

Models the Fleet how-to (part C, 46; mutant M20, "never re-evaluated"): there a changed namespace annotation takes
effect only when the service is touched; here not even then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    first: dict[str, Mapping[str, str]] = {}

    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, service, endpoints, first.setdefault(service.namespace, namespace))

    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(service, endpoints, first.setdefault(service.namespace, namespace), remote, node)

    return replace(healthy, select=select, merge=merge)


DEFECT = Defect(
    name="namespace_gate_read_once",
    models="C46 Fleet how-to, M20",
    requirement="DISC-09",
    expectation="each cluster sees only its own backends",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
