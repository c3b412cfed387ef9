"""A client is kept to its backend for one second, whatever time the service gives.

Models cilium/cilium#35254 (part C, 53), where the affinity of clients was not honoured; here its time is not. An
adversary showed that the suite let it pass.
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
        return healthy.compile(replace(it, session_seconds=min(it.session_seconds, 1)) for it in frontends)

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="session_time_cut_short",
    models="C53 cilium/cilium#35254 (its time)",
    requirement="LB-11",
    expectation="a pause shorter than the time-out parts nobody",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-12", "LB-13", "LB-08"),
    wrap=wrap,
)
