"""Only the new spelling says whether a service is shared: `io.cilium/shared-service: "false"` keeps nobody out.

Models what a rename does when the alias of one word is forgotten (part A1). An adversary showed that cases in one
dialect let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member, Record
from meshproof.clusters.meshes.reference.selection import SHARED
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    alias = SHARED[1]

    def select(
        member: Member, service: Service, endpoints: tuple[Endpoint, ...], namespace: Mapping[str, str]
    ) -> Record | None:
        understood = {key: said for key, said in service.annotations.items() if key != alias}
        return healthy.select(member, replace(service, annotations=understood), endpoints, namespace)

    return replace(healthy, select=select)


DEFECT = Defect(
    name="legacy_shared_ignored",
    models="A1 io.cilium/shared-service",
    requirement="DISC-04",
    expectation="the peer stops using the unshared backends (io.cilium)",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-05", "DISC-06", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
