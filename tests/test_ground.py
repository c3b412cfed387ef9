"""The ground is refused when nobody can say which mesh would be tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, EnvironmentUnfit, Fleet, FleetSpec
from meshproof.fixtures import ground
from meshproof.fixtures.ground import Ground, find, refuse_unfit

SPECS = tuple(ClusterSpec(name, n, 1, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16") for n, name in enumerate("ab", 1))
SPEC = FleetSpec("paper", "embedded", "reference", "cilium", SPECS, Path("paper.yaml"))
FLEET = Fleet(SPEC, tuple(Cluster(spec, spec.name, Path("none")) for spec in SPECS), Path())


@dataclass
class PaperMesh:
    """Every component says the same, but for those in `odd`; the configuration asks for `asked`."""

    asked: str = ""
    odd: Mapping[str, Any] = field(default_factory=dict)

    def configuration(self, cluster: Cluster) -> Mapping[str, str]:
        return {"defects": self.asked} if self.asked else {}

    def status(self, cluster: Cluster) -> Mapping[str, Any]:
        healthy = {"defects": [self.asked] if self.asked else []}
        told = {"exporter": healthy, f"agent-{cluster.name}-1": healthy, **self.odd}
        return {component: said for component, said in told.items() if said}

    def active_defects(self, fleet: Fleet) -> frozenset[str]:
        return frozenset(name for c in fleet.clusters for s in self.status(c).values() for name in s["defects"] or ())


def found(mesh: PaperMesh, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr("meshproof.clusters.fleetfile.resolve", lambda name: name)
    monkeypatch.setattr("meshproof.clusters.fleetfile.load", lambda path: SPEC)
    monkeypatch.setattr(ground, "_running", lambda spec: FLEET)
    monkeypatch.setattr(ground, "_mesh", lambda fleet: mesh)
    monkeypatch.setattr(ground, "_in_force", mesh.active_defects)
    monkeypatch.setattr(ground, "_facts", lambda cluster: (cluster.name, "v1.36.3"))
    monkeypatch.setattr(ground, "SETTLE_SECONDS_MAX", 0.0)
    return find("paper")


def test_a_mesh_that_is_as_asked_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No defect asked for and none in force; or one that the run expects, in force everywhere."""
    refuse_unfit(found(PaperMesh(), monkeypatch), frozenset())
    refuse_unfit(found(PaperMesh("d"), monkeypatch), frozenset({"d"}))


UNSETTLED = {
    "a defect asked for and not in force": (
        PaperMesh("d", {"exporter": {"defects": []}}),
        "d",
        "a/exporter has defects",
    ),
    "a component that does not know yet": (PaperMesh("", {"exporter": {"defects": None}}), "", "does not know yet"),
    "a component that said nothing": (PaperMesh("", {"exporter": None}), "", "1 of 2 components"),
    "a defect still in force": (PaperMesh("", {"exporter": {"defects": ["d"]}}), "", "has these defects on: d"),
}


@pytest.mark.parametrize(("mesh", "expected", "sentence"), UNSETTLED.values(), ids=list(UNSETTLED))
def test_a_mesh_that_is_not_as_asked_is_refused(
    mesh: PaperMesh, expected: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the configuration asks for and what the components say must be the same thing, and what the run expects."""
    with pytest.raises(EnvironmentUnfit, match=sentence):
        refuse_unfit(found(mesh, monkeypatch), frozenset({expected} - {""}))
