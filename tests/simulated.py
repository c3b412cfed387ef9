"""A network without one: a clock that only asking moves, and answers that depend on the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshproof.fixtures.history import Answerer, CaseHeader, Match, Observation, Recorder, Source
from meshproof.fixtures.outcomes import Outcome

CASE = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "two")
FAR, NEAR = Match(cluster="west"), Match(cluster="east")
STEP = 0.05
STRETCH_SECONDS_MAX = 0.1


@dataclass
class Awake:
    """Real time, but for the stretches in which nobody read it, as when the machine stood still."""

    seconds: float = 0.0
    read: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        with self.lock:
            read = time.monotonic()
            self.seconds += min(read - self.read, STRETCH_SECONDS_MAX)
            self.read = read
            return self.seconds


@dataclass
class Simulated:
    """A clock that only a batch moves, and a network that answers by the time: a cluster, "timed-out" or "lost"."""

    answers: Callable[[float], str]
    time: float = 0.0
    recorder: Recorder = field(init=False)
    batches: int = 0
    overhead: float = 0.2
    silent: bool = False
    intruder: bool = False
    nodes: int = 1
    """From so many nodes by turns."""

    @property
    def clock(self) -> Simulated:
        return self

    def now(self) -> float:
        return self.time

    def describe(self) -> str:
        return "east/client-0 → echo.ns:80/tcp"

    def batch(self, count: int) -> Sequence[Observation]:
        self.batches += 1
        if self.intruder:
            self.recorder.observe([self.probe()])
        self.time += self.overhead
        return [] if self.silent else [self.probe(k % self.nodes) for k in range(count * self.nodes)]

    def enough(self) -> None:
        """Nothing goes on by itself."""

    def probe(self, node: int = 0) -> Observation:
        due = self.time
        self.time += STEP
        answer = self.answers(due)
        outcome = {"timed-out": Outcome.TIMED_OUT, "lost": Outcome.HARNESS_ERROR}.get(answer, Outcome.REACHED)
        by = Answerer(answer, "n", "ns", "echo-0", "u", "10.0.0.1") if outcome is Outcome.REACHED else None
        source = Source("east", f"east-{node + 1}", f"client-{node}")
        return Observation(source, "echo.ns:80/tcp", due, due, due, outcome, by, "", 0.01)


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[[Callable[[float], str]], Simulated]]:
    """Makes a simulated network with a history of its own."""
    with ExitStack() as stack:
        made: list[Simulated] = []

        def make(answers: Callable[[float], str]) -> Simulated:
            simulated = Simulated(answers)
            path = tmp_path / f"history-{len(made)}.jsonl"
            simulated.recorder = stack.enter_context(Recorder(path, simulated, CASE))
            made.append(simulated)
            return simulated

        yield make


Simulate = Callable[[Callable[[float], str]], Simulated]
