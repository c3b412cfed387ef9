"""With affinity local, a local pod that lives and is not ready holds the clients all the same.

Models mutant M6: affinity ignores health. An adversary showed that the suite let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Offer
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.selection import affinity
from meshproof.clusters.meshes.reference.world import Endpoint, Service


def wrap(healthy: Pipeline) -> Pipeline:
    def merge(
        service: Service,
        endpoints: tuple[Endpoint, ...],
        namespace: Mapping[str, str],
        remote: Mapping[str, Record],
        node: str,
    ) -> tuple[Offer, ...]:
        if affinity(service) == "local":
            endpoints = tuple(replace(each, ready=each.ready or not each.terminating) for each in endpoints)
        return healthy.merge(service, endpoints, namespace, remote, node)

    return replace(healthy, merge=merge)


DEFECT = Defect(
    name="affinity_counts_not_ready",
    models="C52 (from code), M6",
    requirement="LB-04",
    expectation="the far cluster answers when no local backend is ready",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-12", "LB-13", "LB-08"),
    wrap=wrap,
)
