"""Only the new spelling of the annotations counts: a service marked `io.cilium/global-service` alone is not global.

Models what a rename does when the aliases are forgotten (part A1: the new key wins, the old one still counts; part B:
Microsoft's use-case page still writes the old one). Both the exporter and the agents lose the old keys, of global,
shared and affinity alike.
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
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, _renamed(service), endpoints, namespace)

    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(_renamed(service), endpoints, namespace, remote, node)

    return replace(healthy, select=select, merge=merge)


def _renamed(service: Service) -> Service:
    kept = {key: value for key, value in service.annotations.items() if not key.startswith("io.cilium/")}
    return replace(service, annotations=kept)


DEFECT = Defect(
    name="legacy_annotation_ignored",
    models="A1 io.cilium/global-service, B use-case page",
    requirement="DISC-01",
    expectation="every cluster answers (io.cilium)",
    stays_green=("DISC-03", "DISC-05", "DISC-06", "DISC-07", "DISC-08", "DISC-09", "DISC-12", "DISC-13", "DISC-14"),
    wrap=wrap,
)
