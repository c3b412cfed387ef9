"""Requests that go on while a case acts: none is missed, none is hidden, and nobody else's is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from meshproof.fixtures.checkers import check
from meshproof.fixtures.history import Answerer, Observation, Recorder, Source, load
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.steady import under_load
from meshproof.fixtures.verdicts import CannotTell, PromiseBroken, Verdict
from meshproof.fixtures.waits import eventually
from tests.simulated import CASE, FAR, NEAR, Awake

STEP = 0.004
HANG_SECONDS_MAX = 60.0


@dataclass
class Network:
    """Answers in real time but for stalls, from whichever thread; `route` is who answers, `broken` what went wrong."""

    route: str = "east"
    recorder: Recorder = field(init=False)
    time: Awake = field(default_factory=Awake)
    stopped: threading.Event = field(default_factory=threading.Event)
    broken: str = ""
    answers: list[str] = field(default_factory=list)

    @property
    def clock(self) -> Network:
        return self

    def now(self) -> float:
        return self.time.now()

    def describe(self) -> str:
        return "east/client-0 → echo.ns:80/tcp"

    def enough(self) -> None:
        """Nothing goes on by itself."""

    def batch(self, count: int) -> Sequence[Observation]:
        if self.broken:
            raise RuntimeError(self.broken)
        rows = []
        for _ in range(count):
            due, answer = self.now(), self.route
            self.answers.append(answer)
            outcome = {"lost": Outcome.HARNESS_ERROR, "refused": Outcome.REFUSED}.get(answer, Outcome.REACHED)
            by = Answerer(answer, "n", "ns", "echo-0", "u", "p") if outcome is Outcome.REACHED else None
            rows.append(Observation(Source("east", "n", "c"), "echo.ns:80/tcp", due, due, due, outcome, by))
            self.stopped.wait(STEP)
        return rows


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with ExitStack() as stack:
        network = Network()
        network.recorder = stack.enter_context(Recorder(tmp_path / "history.jsonl", network, CASE))
        yield network


def blip(network: Network, route: str) -> None:
    """For a few requests this is the answer."""
    network.route = route
    until = time.monotonic() + HANG_SECONDS_MAX
    while network.answers.count(route) < 5:
        assert time.monotonic() < until, "nobody asks"
        network.stopped.wait(STEP)
    network.route = "west"


def asking() -> list[str]:
    """The threads that ask."""
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("(_ask)")]


def toggled(network: Network, act: Callable[[], None]) -> None:
    """The shape of a case: far answers, an act, near answers, and no request is lost."""
    with under_load(network) as load:
        changed = network.recorder.event("annotate").at
        act()
        eventually(load, FAR, since=changed, within=30.0, in_a_row=20, name="far takes over")
    load.none_lost(name="no request is lost")


def test_a_smooth_change_loses_nothing(network: Network) -> None:
    """Every request of the block is in the history and was answered, before the act and after it."""
    toggled(network, lambda: setattr(network, "route", "west"))
    stored = load(network.recorder.path)
    assert check(stored).verdict is Verdict.PASSED
    act = stored.events()[0][1].at
    dues = sorted(row.due for _, row in stored.observations())
    assert dues[0] < act < dues[-1]
    assert stored.expectations()[-1][1].over == (stored.observations()[0][0], stored.observations()[-1][0])


def test_one_request_lost_at_the_act_is_seen(network: Network) -> None:
    """A blip right after the act falls into a batch, however short it is."""
    with pytest.raises(PromiseBroken, match="refused"):
        toggled(network, lambda: blip(network, "refused"))
    assert check(load(network.recorder.path)).verdict is Verdict.FAILED


def test_there_is_no_pause_between_batches(network: Network) -> None:
    """The two askers overlap: nowhere in the block is a stretch without a request longer than a few steps."""
    with under_load(network, each=20) as load:
        eventually(load, NEAR, within=30.0, in_a_row=200, name="near answers")
    load.none_lost(name="no request is lost")
    dues = sorted(row.due for _, row in network.recorder.history().observations())
    assert max(later - earlier for earlier, later in pairwise(dues)) < 0.5


def test_a_lost_row_leaves_it_open(network: Network) -> None:
    """A harness error in the middle may hide a lost request: unknown."""
    with pytest.raises(CannotTell, match="unusable"):
        toggled(network, lambda: blip(network, "lost"))


def test_another_prober_in_the_block_is_refused(network: Network) -> None:
    """Rows that are not of the load would be judged with it; the case is unknown."""
    with under_load(network) as load:
        network.recorder.observe(network.batch(1))
    with pytest.raises(CannotTell, match="another prober"):
        load.none_lost(name="no request is lost")


def test_an_asker_that_breaks_is_told(network: Network) -> None:
    """What goes wrong in a thread is raised where the case waits, and both threads end."""
    with pytest.raises(RuntimeError, match="no such pod"):
        toggled(network, lambda: setattr(network, "broken", "no such pod"))
    assert asking() == []


def test_a_case_that_falls_over_ends_the_load(network: Network) -> None:
    """The block is left at once with the case's own error, and both threads end."""
    inside: list[str] = []

    def fall_over() -> None:
        with under_load(network):
            inside.extend(asking())
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fall_over()
    assert (len(inside), asking()) == (2, [])
