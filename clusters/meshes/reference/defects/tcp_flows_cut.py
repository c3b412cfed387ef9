"""When a backend is chosen no longer, the connections that it still serves are cut.

Models cilium/cilium#17716 (part C, 84; mutant M31): existing connections are reset by a change. An adversary showed
that the suite let it pass.
"""

from __future__ import annotations

from dataclasses import replace

from meshproof.clusters.meshes.reference.conntrack import Allowed
from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.pipeline import Pipeline


def wrap(healthy: Pipeline) -> Pipeline:
    def forget(allowed: Allowed) -> Allowed:
        return allowed  # healthy: those of UDP alone

    return replace(healthy, forget=forget)


DEFECT = Defect(
    name="tcp_flows_cut",
    models="C84 cilium/cilium#17716, M31",
    requirement="LB-09",
    expectation="no request is lost while affinity is toggled",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
