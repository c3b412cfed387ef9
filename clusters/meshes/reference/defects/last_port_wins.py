"""Of several service ports with one target port, only the last keeps its remote backends.

Models cilium/cilium#45109 (part C, 34; mutant M10): backends were kept by address and port, and each port's name
replaced the one before.
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
        return healthy.merge(service, endpoints, namespace, {peer: _last(it) for peer, it in remote.items()}, node)

    return replace(healthy, merge=merge)


def _last(record: Record) -> Record:
    names = {where: name for ports in record.backends.values() for name, where in ports.items()}
    kept = {ip: {names[where]: where for where in ports.values()} for ip, ports in record.backends.items()}
    return replace(record, backends=kept)


DEFECT = Defect(
    name="last_port_wins",
    models="C34 cilium/cilium#45109, M10",
    requirement="DISC-12",
    expectation="every port reaches the far cluster",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-09", "DISC-10", "DISC-13"),
    wrap=wrap,
)
