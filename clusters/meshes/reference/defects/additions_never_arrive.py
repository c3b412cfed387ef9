"""Peers' additions stop arriving: what was known stays and shrinks, but nothing new ever comes.

Models cilium/cilium#19813 (part C, 5; mutant M2): after the restart of a clustermesh-apiserver its peers
stopped receiving updates, so connections looked healthy while no new pod was ever learned. Here it begins
when the defect is switched on: new services of a peer, and new backends of services already known, are
dropped; removals still arrive. Switched off, the peers tell everything again and all is healed.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.feed import Delete, Event, Put
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record


def wrap(healthy: Pipeline) -> Pipeline:
    def feed(event: Event, held: Record | None) -> Event | None:
        arrived = healthy.feed(event, held)
        if arrived is None or isinstance(arrived, Delete):
            return arrived
        if held is None:
            return None
        known = {ip: ports for ip, ports in arrived.record.backends.items() if ip in held.backends}
        return Put(replace(arrived.record, backends=known))

    return replace(healthy, feed=feed)


DEFECT = Defect(
    name="additions_never_arrive",
    models="C5 cilium/cilium#19813, M2",
    requirement="DISC-01",
    expectation="the far cluster answers",
    # Nothing: every case so far first needs a far backend to arrive, if only for its control, and is then
    # failed or unknown. A case of purely local traffic will belong here.
    stays_green=(),
    wrap=wrap,
)
