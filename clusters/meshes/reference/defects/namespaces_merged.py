"""Services are matched by name alone: one of the same name in another namespace is taken in.

Mutant M12: a key built without its namespace. A peer's backends of every namespace's service of that name are
balanced under the own one, if the own one is global.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Record
from meshproof.clusters.meshes.reference.world import Service


def wrap(healthy: Pipeline) -> Pipeline:
    def gather(service: Service, imported: Imported) -> Mapping[str, Record]:
        found = dict(healthy.gather(service, imported))
        for cluster, records in imported.items():
            for (_, name), record in sorted(records.items()):
                if name == service.name:
                    first = found.setdefault(cluster, record)
                    found[cluster] = replace(first, backends={**first.backends, **record.backends})
        return found

    return replace(healthy, gather=gather)


DEFECT = Defect(
    name="namespaces_merged",
    models="M12",
    requirement="DISC-06",
    expectation="no answer comes from another namespace",
    stays_green=("DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-07", "DISC-10", "DISC-12", "DISC-13"),
    wrap=wrap,
)
