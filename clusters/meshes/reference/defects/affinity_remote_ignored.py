"""Remote affinity has no effect: local backends go on answering.

Models cilium/cilium#31609 (part C, 49): with affinity=remote the answers stayed local.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.selection import affinity
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        return healthy.choose(replace(service, annotations={}) if affinity(service) == "remote" else service, offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_remote_ignored",
    models="C49 cilium/cilium#31609",
    requirement="LB-05",
    expectation="all answers are remote",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-12", "LB-13"),
    wrap=wrap,
)
