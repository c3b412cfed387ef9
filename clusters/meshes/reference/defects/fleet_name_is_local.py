"""The fleet-wide name of an exported service leads to the own cluster's backends only.

Mutant M27 (part C, 96: a name of the mesh resolves to local pods only). The service by its ordinary name is merged as
it should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        return {} if service.stands_for else healthy.gather(service, imported)

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="fleet_name_is_local",
    models="C96 cilium/cilium#7070, M27",
    requirement="DISC-19",
    expectation="every member answers by its svc.fleet name",
    stays_green=("DISC-01", "DISC-02", "DISC-06", "DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
