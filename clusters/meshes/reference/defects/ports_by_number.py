"""Ports of two clusters are matched by the service's port number, whatever their names.

Mutant M9, a neighbour of cilium/cilium#43251 (part C, 38: requests routed to a cluster that does not expose the
port): `http` on 80 here and `web` on 80 there become one, and `http` on another number there is not found.
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
        own = {(port.protocol, port.number): port.name for port in service.ports}
        renamed: dict[str, Record] = {}
        for peer, record in remote.items():
            names = {port.name: own.get((port.protocol, port.number)) for port in record.ports}
            renamed[peer] = replace(
                record,
                backends={
                    ip: {name: at for said, at in ports.items() if (name := names.get(said)) is not None}
                    for ip, ports in record.backends.items()
                },
            )
        return healthy.merge(service, endpoints, namespace, renamed, node)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="ports_by_number",
    models="C38 cilium/cilium#43251, M9",
    requirement="DISC-12",
    expectation="a port of another name has no far backends",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-13"),
    wrap=wrap,
)
