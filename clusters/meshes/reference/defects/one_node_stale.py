"""One node of every cluster lacks some services: its clients never meet the peers there, all other nodes' do.

Models cilium/cilium#32060 (part C, 24; mutant M14): a random node lacked the mapping of a service to its remote pods,
until its agent was restarted. Here it is the first node of each cluster, and it misses what the peers share first
after the defect was switched on, for half a second; what it knew before and what comes later it has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Record
from meshproof.clusters.meshes.reference.world import Service

SECONDS_AWAY = 0.5


def wrap(healthy: Pipeline) -> Pipeline:
    known: list[frozenset[Key]] = []
    lost: dict[Key, float] = {}
    stale = healthy.here.node.endswith("1")

    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        if not known:
            known.append(frozenset(key for records in imported.values() for key in records))
        found, now = healthy.gather(service, imported), time.monotonic()
        if stale and found and service.key not in known[0] and now - min(lost.values(), default=now) < SECONDS_AWAY:
            lost.setdefault(service.key, now)
        return {} if service.key in lost else found

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="one_node_stale",
    models="C24 cilium/cilium#32060, M14",
    requirement="DISC-01",
    expectation="every cluster answers",
    stays_green=("DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
