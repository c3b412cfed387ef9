"""The chart of global and shared is the documented one, and its sixteen combinations are dealt to every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, Dialect, Fleet, FleetSpec
from meshproof.fixtures import flowchart as module
from meshproof.fixtures.asking import reached, reached_outside
from meshproof.fixtures.floor import Workload
from meshproof.fixtures.flowchart import STATES, FlowChart, State, deals, gives, take_chart
from meshproof.fixtures.history import Answerer, CaseHeader, Observation, Recorder, Source
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.probes import Sender
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.verdicts import PromiseBroken
from meshproof.fixtures.workloads import Pod


@pytest.mark.parametrize("clusters", [2, 3, 5, 6, 8, 25])
def test_every_two_clusters_meet_in_all_sixteen_ways(clusters: int) -> None:
    """Sixteen Services do for five clusters, 32 for 25."""
    dealt = list(deals(clusters))
    assert len(dealt) == (16 if clusters <= 5 else 32)
    for one, other in combinations(range(clusters), 2):
        assert {(states[one], states[other]) for states in dealt} == {(a, b) for a in STATES for b in STATES}


def test_more_clusters_than_the_deal_is_made_for_are_refused() -> None:
    """Rather than left uncovered in silence."""
    with pytest.raises(ValueError, match="26 clusters"):
        list(deals(26))


def test_the_chart_is_the_documented_one() -> None:
    """A cluster uses another's backends when it is global itself and the other is global and shared; nothing else."""
    yes, unshared, shared_only, no = (State(g, s) for g in (True, False) for s in (True, False))
    used = {(near, far) for near in STATES for far in STATES if gives(near, far)}
    assert used == {(yes, yes), (unshared, yes)}
    assert not gives(yes, shared_only)
    assert not gives(no, yes)


@dataclass
class Slow:
    """A mesh that knows nothing of other clusters for `seconds`, and then, if it `leaks`, gives all to everybody."""

    seconds: float
    leaks: bool
    time: float = 0.0

    def now(self) -> float:
        return self.time

    def at(self, monotonic: float) -> float:
        return monotonic

    def probe_all(
        self, senders: Sequence[Sender], count: int, interval: float, *_: object, **__: object
    ) -> list[list[Observation]]:
        begin, self.time = self.time, self.time + count * interval
        return [
            [
                self.answer(sender, str(target), begin + n * interval, n)
                for n in range(count)
                for target in sender.targets
            ]
            for sender in senders
        ]

    def answer(self, sender: Sender, to: str, due: float, n: int) -> Observation:
        near = sender.source.cluster
        number = to.removeprefix("chart-").partition(".")[0]
        by = near
        if number.isdigit() and due >= self.seconds and n % 2:
            states = dict(zip(("east", "west"), list(deals(2))[int(number)], strict=True))
            far = "west" if near == "east" else "east"
            by = far if self.leaks or gives(states[near], states[far]) else near
        who = Source(near, "n", sender.source.name)
        return Observation(who, to, due, due, due, Outcome.REACHED, Answerer(by, "n", "ns", f"echo-{by}", "u", "p"))


@pytest.mark.parametrize("leaks", [False, True])
def test_what_is_kept_counts_once_what_is_given_has_come(
    leaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leak that comes as late as all the rest is seen: before that there was nothing to keep from anybody."""
    names = ("east", "west")
    clusters = tuple(
        Cluster(ClusterSpec(name, id, 2, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), name, tmp_path)
        for id, name in enumerate(names, 1)
    )
    spec = FleetSpec("paper", "paper", "paper", "cilium", tuple(c.spec for c in clusters), tmp_path)
    pods = [Pod(n, "n", "ns", f"{app}-{n}", f"{app}-{n}", "10.0.0.1", app) for n in names for app in ("echo", "client")]
    workload = Workload(Fleet(spec, clusters, tmp_path), "ns", tuple(pods), {Dialect.CILIUM: "echo"})
    mesh: Any = Slow(seconds=4.0, leaks=leaks)
    monkeypatch.setattr(module, "probe_all", mesh.probe_all)
    monkeypatch.setattr(module, "_make", lambda *_: None)
    pattern: Any = None
    chart = take_chart(workload, Dialect.CILIUM, pattern, 15.0, mesh, mesh)
    near, far = clusters
    header = CaseHeader("DISC-03[east-west]", "DISC-03", names, "cilium", 7, "paper")
    with Recorder(tmp_path / "history.jsonl", mesh, header) as recorder:
        seen = FlowChart(lambda: chart, recorder, mesh)
        given = [Question(one, reached(), "used", seen.enough, reached(far)) for one in seen.given(near, far)]
        kept = [Question(one, reached_outside(far), "left", seen.enough) for one in seen.kept(near, far)]
        assert (len(given), len(kept)) == (2, 14)
        side_by_side(*given, since=seen.since, within=15.0)
        if not leaks:
            side_by_side(*kept, since=seen.settled, within=15.0)
            return
        with pytest.raises(PromiseBroken, match="left"):
            side_by_side(*kept, since=seen.settled, within=15.0)
