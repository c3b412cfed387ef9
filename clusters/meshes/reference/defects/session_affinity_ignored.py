"""sessionAffinity ClientIP is not honoured: each connection of a client goes anywhere.

Models cilium/cilium#35254 (part C, 53).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.ruleset import Ruleset


def wrap(healthy: Pipeline) -> Pipeline:
    def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
        return healthy.compile(replace(frontend, session_seconds=0) for frontend in frontends)

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="session_affinity_ignored",
    models="C53 cilium/cilium#35254",
    requirement="LB-11",
    expectation="a client stays with one backend",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
