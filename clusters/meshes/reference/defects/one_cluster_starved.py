"""Local backends get three times the share of remote ones.

Mutant M34: one cluster is starved, though every backend still gets something.
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
        uneven = []
        for frontend in frontends:
            near = tuple(backend for backend in frontend.backends if backend[0] in frontend.hairpins)
            uneven.append(replace(frontend, backends=(*frontend.backends, *near, *near)))
        return healthy.compile(uneven)

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="one_cluster_starved",
    models="M34",
    requirement="LB-01",
    expectation="the shares fit the ready backends",
    stays_green=("DISC-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-09", "LB-12", "LB-13"),
    wrap=wrap,
)
