"""A name under svc.fleet exists only in a member that has the Service itself.

Models what the News article on the Fleet preview rules out (part C12: the name resolves in every member). An adversary
showed that a case with the Service in both clusters lets it pass.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.naming import Exports, Names
from meshproof.clusters.meshes.reference.pipeline import Pipeline


def wrap(healthy: Pipeline) -> Pipeline:
    here = healthy.here.cluster

    def resolve(exports: Exports) -> Names:
        own = exports.get(here, {})
        return {place: name for place, name in healthy.resolve(exports).items() if name.stands_for in own}

    return replace(healthy, resolve=resolve)


DEFECT = Defect(
    name="fleet_name_needs_a_service",
    models="C12 News article (a member without the Service)",
    requirement="DISC-19",
    expectation="a member without the Service is answered by the name too",
    stays_green=("DISC-01", "DISC-02", "DISC-06", "DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
