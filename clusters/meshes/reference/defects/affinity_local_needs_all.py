"""Local affinity holds only while every local backend is ready: one of two that is not sends all clients away.

Mutant M6 from its other side: a threshold where the documents have all or nothing. An adversary showed that cases in
which the last local backend goes at once let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.selection import affinity
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
        if affinity(service) != "local" or all(endpoint.ready for endpoint in endpoints):
            return offers
        return tuple(replace(offer, local=()) if any(offer.remote.values()) else offer for offer in offers)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="affinity_local_needs_all",
    models="M6 (a threshold)",
    requirement="LB-04",
    expectation="all answers are local while one of the local backends is ready",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
