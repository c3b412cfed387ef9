"""When a backend leaves, no client is kept to its own any longer.

Models cilium/cilium#9076 (part C, 55; mutant M21): the session affinity of a live service is lost with a change, here
of its backends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Frontend
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.ruleset import Ruleset, Target, target


def wrap(healthy: Pipeline) -> Pipeline:
    last: dict[Target, frozenset[Backend]] = {}
    lost: set[Target] = set()

    def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
        shown = list(frontends)
        now = {target(frontend): frozenset(frontend.backends) for frontend in shown}
        lost.intersection_update(now)
        lost.update(at for at, some in now.items() if last.get(at, some) - some)
        last.clear()
        last.update(now)
        return healthy.compile(replace(it, session_seconds=0) if target(it) in lost else it for it in shown)

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="session_affinity_lost_on_change",
    models="C55 cilium/cilium#9076, M21",
    requirement="LB-11",
    expectation="a client stays with its backend when others come or go",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
