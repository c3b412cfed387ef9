"""One conversation for many plans: each gets its own rows, and none is taken for lost or found that is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from meshproof.clusters.api import ExecFailed
from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures import traffic
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.exchange import Exchange
from meshproof.fixtures.history import Observation
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.probes import Pod, Sender, Spare, Target, probe, probe_all

EAST = Cluster(ClusterSpec("east", 1, 2, "10.101.0.0/24", "10.141.0.0/16", "172.20.0.0/16"), "east", Path("none"))
CLIENT, OTHER = Pod("east", "east-1", "ns", "client-0"), Pod("east", "east-2", "ns", "client-1")
TICK_SECONDS = 0.005
STALL_SECONDS = 0.4
"""Ours, which is what a spare is for."""
NOWHERE = Target("127.0.0.1", 1, "tcp")
LONG_SECONDS = 30.0


class Local:
    """A conversation with the real program on this machine."""

    def __init__(self, heard: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        command = [sys.executable, "-I", "-S", traffic.__file__, "converse"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, args=(heard, ended), daemon=True)
        self.reader.start()

    def _read(self, heard: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                heard(line.rstrip(b"\n"))
        ended("the program has ended")

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # as the real one, which only queues
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait(LONG_SECONDS)
        self.reader.join(LONG_SECONDS)


@dataclass
class Opened:
    """An opener that counts."""

    talks: list[Local] = field(default_factory=list)

    def __call__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        heard: Callable[[bytes], None],
        ended: Callable[[str], None],
    ) -> Local:
        self.talks.append(Local(heard, ended))
        return self.talks[-1]


def test_plans_run_side_by_side_in_one_conversation() -> None:
    """Eight threads ask one pod at once: one program, and each gets as many rows as it planned, its own."""
    opened, clock = Opened(), RunClock()
    exchange = Exchange(opened)

    def ask(count: int) -> int:
        rows = probe(CLIENT, EAST, (NOWHERE,), count, 0.01, LONG_SECONDS, clock, execute=exchange)
        assert {row.outcome for row in rows} == {Outcome.REFUSED}
        assert [row.blur for row in rows] == [0.0] * count
        return len(rows)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(3, 11))) == list(range(3, 11))
    assert len(opened.talks) == 1
    exchange.close()


def test_a_spare_asks_when_nothing_else_comes_and_no_longer() -> None:
    """It begins late, and what it saw comes with the next plan of its chain; one that is over asks nothing more."""
    exchange, clock = Exchange(Opened()), RunClock()

    def ask(chain: str, *targets: Target) -> list[Observation]:
        spare = Spare(chain, 0.1, 0.02, 40)
        asked = (NOWHERE, *targets)
        return probe(CLIENT, EAST, asked, 2, 0.02, LONG_SECONDS, clock, spare=spare, execute=exchange)

    for chain in ("late", "enough", "others"):
        assert len(ask(chain)) == 2
    exchange.over(Sender(CLIENT, EAST, (NOWHERE,)), "enough")
    rows: list[Observation] = []
    since = clock.now()
    while len(rows) < 10:  # the pod may stand still, too
        time.sleep(STALL_SECONDS)
        spared = ask("late")[:-2]
        assert len(spared) <= 40
        assert all(later.due - sooner.due > 0.01 for sooner, later in pairwise(spared))
        rows += spared
    assert clock.now() - since >= STALL_SECONDS
    assert {(row.outcome, row.to) for row in rows} == {(Outcome.REFUSED, str(NOWHERE))}
    *before, _, _ = ask("enough")
    assert all(row.due < rows[-1].due for row in before)
    assert len(ask("others", Target("127.0.0.1", 2, "tcp"))) == 4  # whoever asks somebody else gets none of them
    exchange.close()


def test_each_pod_has_a_conversation_of_its_own() -> None:
    """Two pods are asked by two programs; asked again, by the same ones."""
    opened = Opened()
    exchange = Exchange(opened)
    senders = [Sender(pod, EAST, (NOWHERE,)) for pod in (CLIENT, OTHER)]
    for _ in range(2):
        both = probe_all(senders, 2, 0.01, LONG_SECONDS, RunClock(), execute=exchange)
        assert [[row.source.pod for row in rows] for rows in both] == [["client-0"] * 2, ["client-1"] * 2]
    assert len(opened.talks) == 2
    exchange.close()


def test_a_broken_conversation_costs_its_plans_and_no_more() -> None:
    """Whoever was waiting gets harness errors that say why, as many as planned; the next plan opens a new one."""
    opened = Opened()
    exchange = Exchange(opened)
    clock = RunClock()
    probe(CLIENT, EAST, (NOWHERE,), 1, 0.01, LONG_SECONDS, clock, execute=exchange)
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(probe, CLIENT, EAST, (NOWHERE,), 50, 0.1, LONG_SECONDS, clock, execute=exchange) for _ in "ab"
        ]
        [line] = exchange._lines.values()
        while len(line._asked) < len(asked):
            time.sleep(TICK_SECONDS)
        opened.talks[0].process.kill()
        lost = [future.result() for future in asked]
    assert [len(rows) for rows in lost] == [50, 50]
    assert {row.outcome for rows in lost for row in rows} <= {Outcome.HARNESS_ERROR, Outcome.REFUSED}
    assert all("the program has ended" in rows[-1].detail for rows in lost)
    opened.talks[0].reader.join(LONG_SECONDS)
    [again] = probe(CLIENT, EAST, (NOWHERE,), 1, 0.01, LONG_SECONDS, clock, execute=exchange)
    assert (again.outcome, len(opened.talks)) == (Outcome.REFUSED, 2)
    exchange.close()
    opened.talks[0].close()


def test_a_refused_plan_is_told() -> None:
    """What the program says of a plan it does not run comes back as the cause."""
    exchange = Exchange(Opened())
    [row] = probe(CLIENT, EAST, (NOWHERE,), 1, 0.0, 61.0, RunClock(), execute=exchange)
    assert row.outcome is Outcome.HARNESS_ERROR
    assert "refused: timeout" in row.detail
    exchange.close()


class Silent:
    """A conversation in which nothing is ever said."""

    closed = False

    def say(self, line: bytes) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_silence_ends_with_the_time() -> None:
    """A plan that never ends is given up at its time-out, and with it the conversation."""
    talk = Silent()
    exchange = Exchange(lambda *_: talk)
    with pytest.raises(ExecFailed, match=r"no end within 0\.1 s"):
        exchange(EAST, "ns", "client-0", "", ["python3", "traffic.py", "probe", "cGxhbg"], 0.1)
    assert talk.closed
