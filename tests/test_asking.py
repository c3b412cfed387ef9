"""A case that asks sees without a pause, also where nobody answers or it stands still itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.api import Executed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures.asking import EchoProber, described
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.history import CaseHeader, Observation, Recorder
from meshproof.fixtures.probes import Pod, Sender, Target
from meshproof.fixtures.steady import under_load
from meshproof.fixtures.traffic import IDENTITY, Plan, Spare, clock_identity, read_plan

EAST = Cluster(ClusterSpec("east", 1, 2, "10.101.0.0/24", "10.141.0.0/16", "172.20.0.0/16"), "east", Path("none"))
CLIENT = Pod("east", "east-1", "ns", "client-0")
PAUSE_SECONDS = 0.005
CASE = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "two")


@dataclass
class Paper:
    """Pods whose requests are all answered at once; a batch takes some seconds on its way back. Only asking takes time,
    and who stands still.
    """

    seconds: float = 0.0
    made: int = 0
    """Requests of all plans."""
    time: float = 1000.0
    """Of this host's monotonic clock and the pods'."""
    spares: dict[str, tuple[Spare, float]] = field(default_factory=dict)
    """With when they begin, by chain."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, cluster: Cluster, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Executed:
        plan = read_plan(base64.urlsafe_b64decode(argv[-1]))
        with self.lock:
            started = self.time
            dues = [started + seq * plan.interval for seq in range(plan.count)]
            spared = self._spared(plan, started)
            self.made += len(spared) + plan.count
        self.stand_still(self.seconds)  # the way back
        threading.Event().wait(PAUSE_SECONDS if self.seconds else 0)  # who asks in a loop leaves room for who reads
        begin = {"monotonic": started, "wall": 0.0, "run": plan.run, "clock": clock_identity()}
        said: list[dict[str, Any]] = [{"begin": begin}]
        said += [{"spare": self._row(-1, due)} for due in spared]
        said += [self._row(seq, due) for seq, due in enumerate(dues)]
        said.append({"end": {"rows": plan.count, "monotonic": started, "wall": 0.0, "run": plan.run}})
        output = b"".join(json.dumps(line).encode() + b"\n" for line in said)
        return Executed(output, b"", None, 0, started, started, self.time)

    def stand_still(self, seconds: float) -> None:
        """Time passes, as when our machine has better things to do."""
        with self.lock:
            self.time += seconds

    def _spared(self, plan: Plan, now: float) -> list[float]:
        if plan.spare is None:
            return []
        spare, since = self.spares.pop(plan.spare.chain, (plan.spare, now))
        self.spares[plan.spare.chain] = plan.spare, now + (plan.count - 1) * plan.interval + plan.spare.after
        return [due for k in range(spare.count) if (due := since + k * spare.interval) < now]

    def _row(self, seq: int, due: float) -> dict[str, Any]:
        by = dict.fromkeys(IDENTITY, "x") | {"namespace": "ns"}
        times = dict.fromkeys(("due", "start", "end"), due)
        return {"target": "0", "seq": seq, "outcome": "reached", "detail": "", "by": by} | times

    def over(self, sender: Sender, chain: str) -> None:
        self.spares.pop(chain, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperClock(RunClock):
    """The run's clock, which the pods move."""

    paper: Paper

    def now(self) -> float:
        return self.at(self.paper.time)


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def recorder(tmp_path: Path, paper: Paper) -> Iterator[Recorder]:
    with Recorder(tmp_path / "history.jsonl", PaperClock(paper.time, paper=paper), CASE) as made:
        yield made


def prober(recorder: Recorder, execute: Paper, source_port: int = 0) -> EchoProber:
    target = Target("echo.ns.svc.cluster.local", 80, "udp" if source_port else "http", source_port)
    sends = (Sender(CLIENT, EAST, (target,)),)
    assert isinstance(recorder.clock, RunClock)
    return EchoProber(recorder, recorder.clock, execute, sends, "ns", interval=0.01)


def gaps(rows: Sequence[Observation]) -> list[float]:
    dues = sorted(row.due for row in rows)
    return [later - sooner for sooner, later in pairwise(dues)]


def test_who_stands_still_between_two_batches_sees_all_the_same(recorder: Recorder, paper: Paper) -> None:
    """The pods go on asking, and their rows come with the next batch."""
    asking = prober(recorder, paper)
    rows = [*asking.batch(10)]
    paper.stand_still(1.5)
    rows += asking.batch(10)
    assert len(rows) > 20
    assert max(gaps(rows)) < 1.0


def test_a_batch_that_is_late_does_not_stop_the_asking(recorder: Recorder, paper: Paper) -> None:
    """While one waits for its time-outs the pods go on, too."""
    paper.seconds = 1.5
    asking = prober(recorder, paper)
    rows = [*asking.batch(10), *asking.batch(10)]
    assert max(gaps(rows)) < 1.0


def test_a_batch_in_time_is_asked_alone(recorder: Recorder, paper: Paper) -> None:
    """No spare asks anything where the next batch comes."""
    paper.seconds = 0.05
    asking = prober(recorder, paper)
    assert [len(asking.batch(10)) for _ in range(3)] == [10, 10, 10]
    assert paper.made == 30


def test_several_ask_no_more_than_one_would(recorder: Recorder, paper: Paper) -> None:
    """Where the senders divide a batch, it has as many questions as from one, or so few more that all ask alike."""
    one = prober(recorder, paper)
    both = replace(one, sends=one.sends * 2, divided=True)
    assert len(both.batch(7)) == 8


def test_enough_is_enough(recorder: Recorder, paper: Paper) -> None:
    """Nobody goes on asking when the case has seen what it was to see, and the next batch is about something else."""
    asking = prober(recorder, paper)
    asking.batch(10)
    asking.enough()
    paper.stand_still(1.5)
    assert len(asking.batch(10)) == 10
    assert paper.made == 20


def test_of_requests_that_all_count_none_is_thrown_away(recorder: Recorder, paper: Paper) -> None:
    """Each request that was made is fetched in the end."""
    asking = prober(recorder, paper)
    rows = [*asking.batch(5)]
    paper.stand_still(1.2)
    rows += asking.batch(10)
    paper.stand_still(1.2)
    rows += asking.rest()
    assert len(rows) == paper.made > 16


def test_a_load_misses_no_request_of_a_batch_that_was_late(recorder: Recorder, paper: Paper) -> None:
    """What a case writes while requests are under way costs none of them its row."""
    paper.seconds = 0.8
    with under_load(prober(recorder, paper), each=6) as load:
        for _ in range(3):
            recorder.event("annotate")
            recorder.observe(load.batch(1))
    assert len(recorder.history().observations()) == paper.made


def test_a_flow_has_no_spare(recorder: Recorder, paper: Paper) -> None:
    """Its port is taken as long as a batch lasts."""
    asking = prober(recorder, paper, source_port=20_000)
    asking.batch(5)
    paper.stand_still(0.8)
    asking.batch(5)
    assert paper.made == 10


@pytest.mark.parametrize(
    ("ports", "told"),
    [
        ((80, 81, 82, 83), "echo:80-83/http"),
        ((80, 81), "echo:80/http, echo:81/http"),
        ((80, 82, 83), "echo:80/http, echo:82/http, echo:83/http"),
    ],
)
def test_many_ports_are_told_in_short(ports: tuple[int, ...], told: str) -> None:
    """Three or more that come one after the other are a range."""
    sender = Sender(CLIENT, EAST, tuple(Target("echo", n, "http") for n in ports))
    assert described([sender]) == f"east/client-0 → {told}"
