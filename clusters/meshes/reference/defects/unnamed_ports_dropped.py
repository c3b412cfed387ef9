"""A port without a name has no remote backends.

Models cilium/cilium#41104 (part C, 35; mutant M11): the name of the only port of a service may be left out, and then
its remote backends were missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        named = {
            peer: replace(
                record,
                backends={
                    ip: {name: at for name, at in ports.items() if name} for ip, ports in record.backends.items()
                },
            )
            for peer, record in remote.items()
        }
        return healthy.merge(service, endpoints, namespace, named, node)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="unnamed_ports_dropped",
    models="C35 cilium/cilium#41104, M11",
    requirement="DISC-12",
    expectation="an unnamed port reaches the far cluster",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-13"),
    wrap=wrap,
)
