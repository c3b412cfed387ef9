"""A cluster that prefers the others keeps its own backends from them.

Models cilium/cilium#19042 (part C, 43) for affinity remote: what one cluster says of itself acts on another. An
adversary showed that the suite let it pass.
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
        mine = affinity(service) == "remote"
        return None if mine else healthy.select(member, service, endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="remote_affinity_unshares",
    models="C43 cilium/cilium#19042 (for affinity remote)",
    requirement="LB-08",
    expectation="the peer still uses both clusters",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-04", "LB-06", "LB-07", "LB-12", "LB-13"),
    wrap=wrap,
)
