"""Local affinity begins with the second local backend, as if there were a threshold.

Models the wish of cilium/cilium#46633 (part C, 48; mutant M7): the first ready local pod takes all traffic, as
documented, all or nothing. A threshold would be kinder and is not promised.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.selection import affinity
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        alone = affinity(service) == "local" and len(offer.local) == 1
        return healthy.choose(service, offer) + tuple(itertools.chain(*offer.remote.values())) * alone

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="affinity_needs_two",
    models="C48 cilium/cilium#46633, M7",
    requirement="LB-10",
    expectation="all answers come from the single local pod",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
