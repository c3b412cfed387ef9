"""Local affinity has no effect: who balances does not read it.

Models the L7 balancers of cilium/cilium#24496 (part C, 51), which ignored affinity. Remote affinity is honoured.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.selection import AFFINITY
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        unread = {
            key: value for key, value in service.annotations.items() if not (key in AFFINITY and value == "local")
        }
        return healthy.choose(replace(service, annotations=unread), offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_local_ignored",
    models="C51 cilium/cilium#24496",
    requirement="LB-04",
    expectation="all answers are local",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-05", "LB-11", "LB-12", "LB-13"),
    wrap=wrap,
)
