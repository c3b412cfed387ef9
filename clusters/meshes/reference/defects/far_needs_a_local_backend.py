"""Remote backends are used only beside local ones: a cluster without a pod of its own refuses.

Models cilium/cilium#23823 (part C, 16): a global service whose backends were all remote lost them. There it took a
restart of the local agent and passed; here it is for good.
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
        offers = healthy.merge(service, endpoints, namespace, remote, node)
        return tuple(offer if offer.local else replace(offer, remote={}) for offer in offers)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="far_needs_a_local_backend",
    models="C16 cilium/cilium#23823, M15",
    requirement="DISC-02",
    expectation="the far cluster answers",
    stays_green=("DISC-01", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-12"),
    wrap=wrap,
)
