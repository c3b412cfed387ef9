"""A service without selector that has lost a peer's backends never takes that peer's again.

Models cilium/cilium#40361 (part C, 20): the remote service was deleted or unshared and made again, and a local
service without selector was not merged a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Record
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    met: set[tuple[Key, str]] = set()
    parted: set[tuple[Key, str]] = set()

    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        found = healthy.gather(service, imported)
        if service.selects:
            return found
        parted.update((key, peer) for key, peer in met if key == service.key and peer not in found)
        met.update((service.key, peer) for peer in found)
        return {peer: record for peer, record in found.items() if (service.key, peer) not in parted}

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="selectorless_merges_once",
    models="C20 cilium/cilium#40361",
    requirement="DISC-13",
    expectation="the far cluster answers again",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-12"),
    wrap=wrap,
)
