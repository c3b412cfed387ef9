"""Only the TCP ports of a service have remote backends.

Models cilium/cilium#20697 (part C, 36), where the second family of a dual-stack service had local endpoints only, for
the second protocol.
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
    def tcp(record: Record) -> Record:
        backends = {
            address: {name: (protocol, port) for name, (protocol, port) in ports.items() if protocol == "TCP"}
            for address, ports in record.backends.items()
        }
        return replace(record, ports=tuple(port for port in record.ports if port.protocol == "TCP"), backends=backends)

    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        return {peer: tcp(record) for peer, record in healthy.gather(service, imported).items()}

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="udp_dropped",
    models="C36 cilium/cilium#20697 (a second protocol for a second family)",
    requirement="DISC-14",
    expectation="UDP requests reach the far cluster",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
