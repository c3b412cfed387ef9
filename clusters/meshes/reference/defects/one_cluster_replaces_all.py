"""When one peer's backends of a service shrink, the other peers' are thrown away with them.

Models what the review of cilium/cilium#38220 found (part C, 37; mutant M13): an update or a deletion of one cluster's
backends removed those of another. They come back when their own cluster next says something new of that service. It
takes three clusters to see it.
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
    before: dict[Key, Mapping[str, Record]] = {}
    thrown: dict[tuple[Key, str], Record] = {}

    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        key, found = service.key, healthy.gather(service, imported)
        last = before.get(key, {})
        before[key] = found
        kept = {cluster: found[cluster].backends.keys() if cluster in found else frozenset[str]() for cluster in last}
        if any(record.backends.keys() - kept[cluster] for cluster, record in last.items()):
            thrown.update({(key, other): record for other, record in found.items() if last.get(other) == record})
        return {cluster: record for cluster, record in found.items() if thrown.get((key, cluster)) != record}

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="one_cluster_replaces_all",
    models="C37 cilium/cilium#38220, M13",
    requirement="DISC-11",
    expectation="the other cluster's backends stay in use",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
