"""An affinity that nobody knows is taken for "local".

Models what cilium/cilium#46635 put right beside number 47 of part C: a value other than local and remote has to mean
none.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.selection import AFFINITY
from meshproof.clusters.meshes.reference.world import Service

KNOWN = ("none", "local", "remote")


def wrap(healthy: Pipeline) -> Pipeline:
    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        for key in AFFINITY:
            if service.annotations.get(key, "none") not in KNOWN:
                service = replace(service, annotations={**service.annotations, key: "local"})
        return healthy.choose(service, offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="unknown_affinity_is_local",
    models="C47 cilium/cilium#46635",
    requirement="LB-07",
    expectation="an unknown affinity uses both clusters",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
