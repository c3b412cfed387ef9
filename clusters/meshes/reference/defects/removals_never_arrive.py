"""A peer's backend that goes is never forgotten, as long as its service lives.

Models cilium/cilium#24740 (part C, 2; mutant M1): deletions were missed across a reconnect, and what was gone stayed.
Here each update of a service only adds; the deletion of the whole service still arrives.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.feed import Event, Put
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record


def wrap(healthy: Pipeline) -> Pipeline:
    def feed(event: Event, held: Record | None) -> Event | None:
        arrived = healthy.feed(event, held)
        if isinstance(arrived, Put) and held is not None:
            grown = {**held.backends, **arrived.record.backends}
            return Put(replace(arrived.record, backends=grown))
        return arrived

    return replace(healthy, feed=feed)


DEFECT = Defect(
    name="removals_never_arrive",
    models="C2 cilium/cilium#24740, M1",
    requirement="DISC-17",
    expectation="the not-ready pod gets no new connections",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
