"""What suites on paper are made of: a conftest that brings a fleet which is only a value, and cases for it."""

from __future__ import annotations

CONFTEST = """
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, EnvironmentUnfit, Feature, Fleet, FleetSpec, MeshIdentity
from meshproof.fixtures.ground import Ground
from meshproof.fixtures.history import Answerer, Observation, Source
from meshproof.fixtures.outcomes import Outcome


class PaperMesh:
    def identity(self):
        return MeshIdentity("paper mesh", "1", "says nothing at all")

    def features(self):
        return frozenset({Feature.GLOBAL_SERVICES})

    def lacks(self):
        return {}

    def configuration(self, cluster):
        return {}

    def status(self, cluster):
        return {}


def pytest_meshproof_find_fleet(config, name):
    if name == "absent":
        raise EnvironmentUnfit("fleet 'absent' is not up; bring it up with: meshproof up absent")
    names = name.split("-")
    specs = tuple(ClusterSpec(n, i, 2, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16") for i, n in enumerate(names, 1))
    fleet = FleetSpec(name, "paper", "paper", "cilium", specs, Path("paper.yaml"))
    clusters = tuple(Cluster(spec, spec.name, Path("none")) for spec in specs)
    uids = {n: "same" if n.startswith("twin") else n for n in names}
    defects = frozenset({"shared_ignored"}) if "broken" in names else frozenset()
    return Ground(Fleet(fleet, clusters, Path(".")), PaperMesh(), uids, dict.fromkeys(names, "v1.36.3"), defects)


@dataclass
class Clock:
    seconds: float

    def now(self):
        return self.seconds


@dataclass
class Asker:
    recorder: object
    clock: Clock
    answers: str

    def batch(self, count):
        self.clock.seconds += 0.01
        now = self.clock.now()
        by = Answerer(self.answers, "node", "ns", "echo", "uid", "10.0.0.1")
        return [
            Observation(Source("east", "east-1", "client"), "echo:80/http", due, due, due, Outcome.REACHED, by)
            for due in (now + i / 1000 for i in range(count))
        ]

    def enough(self):
        pass

    def describe(self):
        return "paper"


@pytest.fixture
def ask(history, clock):
    # A case has a clock of its own, which only its questions move: whoever stands still misses nothing.
    history.clock = Clock(clock.now())
    return lambda answers: Asker(history, history.clock, answers)
"""

PREAMBLE = """
import os, signal
import pytest
from meshproof.clusters.fleet import Feature
from meshproof.fixtures.history import CONTROL, Match
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.verdicts import CannotTell, Judgement, PromiseBroken, Verdict
from meshproof.fixtures.waits import eventually

def claim(asker, cluster, within=0.3):
    eventually(asker, Match(Outcome.REACHED, cluster=cluster), within=within, in_a_row=3, name="the cluster answers")

"""

HOLDS = """
@requirement("DISC-01")
def test_holds(pair, ask):
    claim(ask(pair.far.name), pair.far.name)
"""

BREAKS = """
@requirement("DISC-02")
def test_breaks(pair, ask):
    claim(ask(pair.near.name), pair.far.name)
"""
