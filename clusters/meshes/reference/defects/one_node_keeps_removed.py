"""One node of every cluster is never told that a peer shares a service no longer: its clients go on meeting the peer.

Models cilium/cilium#24740 (part C, 2) where only one agent missed the deletion. An adversary showed that a case which
asks from one client lets it pass in half of its runs.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.feed import Delete, Event
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record


def wrap(healthy: Pipeline) -> Pipeline:
    deaf = healthy.here.node.endswith("1")

    def feed(event: Event, held: Record | None) -> Event | None:
        arrived = healthy.feed(event, held)
        return None if deaf and isinstance(arrived, Delete) else arrived

    return replace(healthy, feed=feed)


DEFECT = Defect(
    name="one_node_keeps_removed",
    models="C2 cilium/cilium#24740 (on one node)",
    requirement="DISC-04",
    expectation="the peer stops using the unshared backends",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-05", "DISC-06", "DISC-07", "DISC-12", "DISC-14", "DISC-17"),
    wrap=wrap,
)
