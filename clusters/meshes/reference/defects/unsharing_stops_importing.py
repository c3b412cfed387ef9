"""A cluster that stops sharing loses sight of the others, too.

Models cilium/cilium#19042 (part C, 43; mutant M4): unsharing a service in one cluster changed that cluster's own view
of it. There the peers' view stayed as it was; here they leave it alone as they should, so that only the owner's side
is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.selection import SHARED
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        gone = any(service.annotations.get(key) == "false" for key in SHARED)
        return healthy.merge(service, endpoints, namespace, {} if gone else remote, node)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="unsharing_stops_importing",
    models="C43 cilium/cilium#19042, M4",
    requirement="DISC-04",
    expectation="the owner still uses both",
    stays_green=("DISC-01", "DISC-02", "DISC-05", "DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
