"""A cluster with local affinity keeps its backends to itself.

Models the confusion of sides of cilium/cilium#19042 (part C, 43) for affinity, which is the consuming cluster's own
affair: here a service that prefers its own backends is taken for one that does not share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import affinity
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        return None if affinity(service) == "local" else healthy.select(member, service, endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="affinity_leaks_to_the_peer",
    models="C43 cilium/cilium#19042 (for affinity)",
    requirement="LB-08",
    expectation="the peer still uses both clusters",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-12", "LB-13"),
    wrap=wrap,
)
