"""Local affinity knows no way out: with no healthy local backend the client is refused, though others would answer.

Mutant M6: the affinity is decided before health is looked at.
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
        own = any(service.annotations.get(key) == "local" for key in AFFINITY)
        return (*offer.local, *offer.terminating) if own else healthy.choose(service, offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_local_ignores_health",
    models="M6",
    requirement="LB-04",
    expectation="the far cluster answers when no local backend lives",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
