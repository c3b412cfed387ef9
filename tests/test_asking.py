"""A case that asks sees without a pause, also where nobody answers; and what it asked before an act counts no more."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from meshproof.clusters.api import ExecFailed, Executed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures.asking import EchoProber
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.history import CaseHeader, Recorder
from meshproof.fixtures.probes import Pod, Sender, Target
from meshproof.fixtures.steady import under_load

EAST = Cluster(ClusterSpec("east", 1, 2, "10.101.0.0/24", "10.141.0.0/16", "172.20.0.0/16"), "east", Path("none"))
CLIENT = Pod("east", "east-1", "ns", "client-0")
CASE = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "two")


@dataclass
class Slow:
    """An executor whose every plan takes its time; nothing comes of it but harness errors."""

    seconds: float
    begun: list[float] = field(default_factory=list)
    planned: int = 0
    """Requests of all plans."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(
        self, cluster: Cluster, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Executed:
        started = time.monotonic()
        with self.lock:
            self.begun.append(started)
            self.planned += json.loads(base64.urlsafe_b64decode(argv[-1]))["count"]
        time.sleep(self.seconds)
        raise ExecFailed("nothing", Executed(b"", b"", None, None, started, None, time.monotonic()))


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "history.jsonl", RunClock(), CASE) as made:
        yield made


def prober(recorder: Recorder, execute: Slow, source_port: int = 0) -> EchoProber:
    sends = (Sender(CLIENT, EAST, (Target("echo.ns.svc.cluster.local", 80, "http", source_port),)),)
    return EchoProber(recorder, RunClock(), execute, sends, "ns", interval=0.01)


def test_a_batch_that_is_late_does_not_stop_the_asking(recorder: Recorder) -> None:
    """While one waits for its time-outs the next are begun, a second apart, and are fetched in order."""
    slow = Slow(2.0)
    asking = prober(recorder, slow)
    for _ in range(3):
        assert len(asking.batch(10)) == 10
    gaps = [later - sooner for sooner, later in pairwise(sorted(slow.begun))]
    assert 0.5 < gaps[0] < 0.9
    assert all(0.9 < gap < 1.5 for gap in gaps[1:])


def test_a_batch_in_time_is_asked_alone(recorder: Recorder) -> None:
    """Nothing is asked ahead where answers come."""
    slow = Slow(0.05)
    asking = prober(recorder, slow)
    for _ in range(3):
        asking.batch(10)
    assert len(slow.begun) == 3


def test_several_ask_no_more_than_one_would(recorder: Recorder) -> None:
    """Where the senders divide a batch, it has as many questions as from one, or so few more that all ask alike."""
    slow = Slow(0.0)
    one = prober(recorder, slow)
    both = replace(one, sends=one.sends * 2, divided=True)
    assert len(both.batch(7)) == 8
    assert slow.planned == 8


def test_what_was_asked_before_an_act_is_thrown_away(recorder: Recorder) -> None:
    """After the case has acted, its next batch was begun after that."""
    slow = Slow(1.0)
    asking = prober(recorder, slow)
    asking.batch(5)
    assert len(slow.begun) > 1
    recorder.event("annotate")
    acted = time.monotonic()
    asked_before = len(slow.begun)
    asking.batch(5)
    assert slow.begun[asked_before] >= acted


def test_of_requests_that_all_count_none_is_thrown_away(recorder: Recorder) -> None:
    """Whatever the case does meanwhile, each batch that was begun is fetched in the end."""
    slow = Slow(1.2)
    asking = replace(prober(recorder, slow), lasting=True)
    rows = [*asking.batch(5)]
    recorder.event("annotate")
    rows += asking.batch(10)
    rows += asking.rest()
    assert len(slow.begun) > 2
    assert len(rows) == slow.planned
    assert asking.rest() == []


def test_a_load_misses_no_request_of_a_batch_that_was_late(recorder: Recorder) -> None:
    """What a case writes while requests are under way costs none of them its row."""
    slow = Slow(0.8)
    with under_load(prober(recorder, slow), each=6) as load:
        for _ in range(3):
            recorder.event("annotate")
            recorder.observe(load.batch(1))
    assert len(recorder.history().observations()) == slow.planned


def test_a_flow_is_never_asked_ahead(recorder: Recorder) -> None:
    """Its port is taken as long as a batch lasts."""
    slow = Slow(0.5)
    asking = prober(recorder, slow, source_port=20_000)
    asking.batch(5)
    assert len(slow.begun) == 1
