"""The literal affinity "none" drops all remote backends.

Models cilium/cilium#46623 (part C, 47; mutant M5): a service without local pods was a black hole as soon as somebody
wrote down the default.
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
        written = next((service.annotations[key] for key in AFFINITY if key in service.annotations), "")
        return healthy.choose(service, replace(offer, remote={}) if written == "none" else offer)

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_none_drops_remotes",
    models="C47 cilium/cilium#46623, M5",
    requirement="LB-06",
    expectation="affinity none uses both clusters",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
