"""The name under svc.fleet stands for the backends of the other members alone.

Models cilium/cilium#7070 (part C, 96; mutant M27) turned round. An adversary showed that the suite let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        return healthy.merge(service, () if service.stands_for else endpoints, namespace, remote, node)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="fleet_name_is_abroad",
    models="C96 cilium/cilium#7070, M27 (turned round)",
    requirement="DISC-19",
    expectation="every member answers by its svc.fleet name",
    stays_green=(
        "DISC-01",
        "DISC-02",
        "DISC-06",
        "DISC-07",
        "DISC-08",
        "DISC-09",
        "DISC-10",
        "DISC-12",
        "DISC-13",
        "DISC-14",
    ),
    wrap=wrap,
)
