"""A UDP flow goes on to the backend it began with, for as long as it lasts, however dead that backend is.

Models the reused stale tuple of cilium/cilium#20407 (part C, 84): what the kernel tracks is not told that a backend
has gone.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.conntrack import Allowed
from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline


def wrap(healthy: Pipeline) -> Pipeline:
    def forget(_allowed: Allowed) -> Allowed:
        return {}

    return replace(healthy, forget=forget)


DEFECT = Defect(
    name="udp_flows_kept",
    models="C84 cilium/cilium#20407",
    requirement="DISC-14",
    expectation="after the scale-down only living backends answer",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
