"""A provider that remembers what was asked of it and brings nothing up."""

from __future__ import annotations

from pathlib import Path

from meshproof.clusters.fleet import Cluster, Fleet, FleetSpec, FleetStatus, Progress


class FakeProvider:
    """Remembers what was asked of it; `phase` is what there is."""

    phase = "absent"
    fleets = Path("/state/fleets")
    asked: list[str]

    def up(self, spec: FleetSpec, progress: Progress) -> Fleet:
        self.asked.append("up")
        progress("progress of up")
        clusters = tuple(Cluster(one, one.name, Path("/f") / one.name) for one in spec.clusters)
        if self.fleets.is_dir():
            (self.fleets / spec.name).mkdir(exist_ok=True)
        return Fleet(spec, clusters, self.fleets / spec.name)

    def find(self, spec: FleetSpec) -> Fleet | None:
        return None

    def status(self, name: str) -> FleetStatus:
        return FleetStatus(name, self.phase, "", {"ready": 8.5} if self.phase == "ready" else {})

    def down(self, name: str, progress: Progress) -> None:
        self.asked.append(f"down {name}")
