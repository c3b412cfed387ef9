"""When all backends of a port are replaced by others at once, there is a moment with none.

Models the temporary empty set of cilium/cilium#23744 (part C, 85; mutant M15): the old ones are taken away in one
step and the new ones put in place in a later one, half a second to one and a half afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Backend, Frontend
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.ruleset import Ruleset, Target, target

SECONDS_EMPTY = 0.5


def wrap(healthy: Pipeline) -> Pipeline:
    last: dict[Target, frozenset[Backend]] = {}
    empty: dict[Target, float] = {}

    def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
        given, now = {target(frontend): frontend for frontend in frontends}, time.monotonic()
        backends = {at: frozenset(frontend.backends) for at, frontend in given.items()}
        replaced = [at for at, some in backends.items() if some and last.get(at) and some.isdisjoint(last[at])]
        empty.update(dict.fromkeys(replaced, now + SECONDS_EMPTY))
        last.clear()
        last.update(backends)
        return healthy.compile(replace(it, backends=()) if empty.get(at, now) > now else it for at, it in given.items())

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="empty_while_replaced",
    models="C85 cilium/cilium#23744, M15",
    requirement="LB-09",
    expectation="no request is lost while affinity is toggled",
    stays_green=("DISC-01", "LB-01", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12", "LB-13"),
    wrap=wrap,
)
