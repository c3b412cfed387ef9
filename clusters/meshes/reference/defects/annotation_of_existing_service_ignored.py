"""A service is global or not as it was made: annotating it later has no effect.

Models cilium/cilium#7061 (part C, 27): the global annotation added to an existing service was not applied. Here
taking it away is not noticed either; the other annotations are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.selection import GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    made: dict[Key, Mapping[str, str]] = {}

    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, _as_made(service, made), endpoints, namespace)

    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(_as_made(service, made), endpoints, namespace, remote, node)

    return replace(healthy, select=select, merge=merge)


def _as_made(service: Service, made: dict[Key, Mapping[str, str]]) -> Service:
    said = {key: value for key, value in service.annotations.items() if key in GLOBAL}
    others = {key: value for key, value in service.annotations.items() if key not in GLOBAL}
    return replace(service, annotations={**others, **made.setdefault(service.key, said)})


DEFECT = Defect(
    name="annotation_of_existing_service_ignored",
    models="C27 cilium/cilium#7061",
    requirement="DISC-10",
    expectation="the change takes effect in the near cluster",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-12", "DISC-13"),
    wrap=wrap,
)
