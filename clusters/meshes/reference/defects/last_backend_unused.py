"""Of four or more backends the last never gets a connection.

Models cilium/cilium#26944 (part C, 17): with many endpoints some were never used. Here the table ends one too early.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.ruleset import Ruleset

MANY = 4


def wrap(healthy: Pipeline) -> Pipeline:
    def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
        cut = [
            replace(frontend, backends=frontend.backends[:-1]) if len(frontend.backends) >= MANY else frontend
            for frontend in frontends
        ]
        return healthy.compile(cut)

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="last_backend_unused",
    models="C17 cilium/cilium#26944",
    requirement="LB-03",
    expectation="every ready backend answers",
    stays_green=("DISC-01", "LB-05", "LB-06", "LB-07", "LB-08", "LB-09", "LB-12", "LB-13"),
    wrap=wrap,
)
