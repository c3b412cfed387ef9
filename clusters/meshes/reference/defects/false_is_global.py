"""A Service that has the annotation `global` is global, whatever the annotation says.

Models cilium/cilium#18766 (part C, 42) for `global`: a "false" has no effect. An adversary showed that the suite let
it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import GLOBAL
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return healthy.select(member, _misread(service), endpoints, namespace)

    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(_misread(service), endpoints, namespace, remote, node)

    return replace(healthy, select=select, merge=merge)


def _misread(service: Service) -> Service:
    said = {key: "true" if key in GLOBAL else value for key, value in service.annotations.items()}
    return replace(service, annotations=said)


DEFECT = Defect(
    name="false_is_global",
    models="C42 cilium/cilium#18766 (for global)",
    requirement="DISC-10",
    expectation="the change takes effect in the near cluster",
    stays_green=("DISC-01", "DISC-02", "DISC-04", "DISC-05", "DISC-06", "DISC-07", "DISC-09", "DISC-12", "DISC-13"),
    wrap=wrap,
)
