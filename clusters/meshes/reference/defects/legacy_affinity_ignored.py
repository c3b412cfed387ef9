"""Affinity is read from the new spelling alone: with `io.cilium/service-affinity: local` both clusters answer.

Models what a rename does when the alias of one word is forgotten (part A1). An adversary showed that cases in one
dialect let it pass.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.selection import AFFINITY
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    current, alias = AFFINITY

    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        said = service.annotations.get(current, "none")
        understood = {**service.annotations, current: said, alias: said}
        return healthy.choose(replace(service, annotations=understood), offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="legacy_affinity_ignored",
    models="A1 io.cilium/service-affinity",
    requirement="LB-04",
    expectation="all answers are local (io.cilium)",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
