"""Remote affinity ends with the last but one remote backend: the one that is left shares with the local ones.

Mutant M6 on the remote side: a threshold where the documents have all or nothing. A case in which all remote backends
go at once lets it pass.
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
        away = [backend for backends in offer.remote.values() for backend in backends]
        if affinity(service) != "remote" or len(away) != 1:
            return healthy.choose(service, offer)
        return (*offer.local, *away)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_remote_needs_two",
    models="M6 (a threshold), abroad",
    requirement="LB-05",
    expectation="all answers are remote while one of the remote backends is ready",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
