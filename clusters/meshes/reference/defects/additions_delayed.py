"""Some new backends are used late: of those that join a service which had some before, every third waits.

Models cilium/cilium#16302 (part C, 60; like mutant M29): a new pod was announced up to ten seconds late. The others
are used at once, so that only who looks at the slowest of many will see it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Record
from meshproof.clusters.meshes.reference.world import Service

SECONDS_LATE = 2.5
ONE_IN = 3


def wrap(healthy: Pipeline) -> Pipeline:
    begun: set[tuple[Key, str]] = set()
    due: dict[tuple[Key, str], dict[str, float]] = {}
    joined = itertools.count(1)

    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        found, now = dict(healthy.gather(service, imported)), time.monotonic()
        for peer, record in found.items():
            at, before = (service.key, peer), due.get((service.key, peer), {})
            new = sorted(record.backends.keys() - before.keys())
            late = {ip: now + SECONDS_LATE for ip in new if at in begun and next(joined) % ONE_IN == 0}
            due[at] = {ip: late.get(ip, before.get(ip, now)) for ip in record.backends}
            if record.backends:
                begun.add(at)
            found[peer] = replace(record, backends={ip: it for ip, it in record.backends.items() if due[at][ip] <= now})
        return found

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="additions_delayed",
    models="C60 cilium/cilium#16302, M29",
    requirement="DISC-18",
    expectation="p95 of the propagation is within the bound",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-06", "DISC-07", "DISC-08", "DISC-09", "DISC-12"),
    wrap=wrap,
)
