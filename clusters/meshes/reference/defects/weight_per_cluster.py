"""Every cluster gets the same share, however many backends it has.

Models the reading that the catalogue of oracle traps warns of: distribution is per backend, not half and half per
cluster. With as many backends everywhere nobody can tell.
"""

from __future__ import annotations

import math
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def choose(service: Service, offer: Offer) -> tuple[Backend, ...]:
        chosen = healthy.choose(service, offer)
        clusters = [
            [backend for backend in some if backend in chosen] for some in (offer.local, *offer.remote.values())
        ]
        whole = math.lcm(*(len(some) for some in clusters if some))
        return tuple(backend for some in clusters for backend in some * (whole // max(1, len(some)))) or chosen

    return replace(healthy, choose=choose)


DEFECT = Defect(
    name="weight_per_cluster",
    models="M34, oracle trap (per backend, not per cluster)",
    requirement="LB-02",
    expectation="the shares follow the number of backends",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
