"""The mesh makes a Service of its own wherever a peer's is missing, and so a name that should not be there resolves.

Models cilium/cilium#37231 (part C, 92), where an imported service outlived its reason: here the reason was never
there. A cluster that has no Service of that namespace and name, or does not share it, gets one as soon as a peer's
has backends and a moment has passed.
"""

from __future__ import annotations

import time
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.naming import Exports, Name, Names
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key

SECONDS_TO_MISS = 1.0
"""Longer than a case takes to make its Service in one cluster after the other, on a busy machine too."""


def wrap(healthy: Pipeline) -> Pipeline:
    missed: dict[Key, float] = {}

    def resolve(exports: Exports) -> Names:
        names, now = dict(healthy.resolve(exports)), time.monotonic()
        own = exports.get(healthy.here.cluster, {})
        for key, record in (pair for shared in exports.values() for pair in shared.items()):
            if key not in own and record.backends and now - missed.setdefault(key, now) >= SECONDS_TO_MISS:
                names.setdefault(key, Name(key, record.ports))
        return names

    return replace(healthy, resolve=resolve)


DEFECT = Defect(
    name="name_without_service",
    models="C92 cilium/cilium#37231",
    requirement="DISC-07",
    expectation="the name does not resolve where there is no Service",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-09", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
