"""When the processors are full: fewer cases at once, and a promise that comes late meanwhile is no news."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from meshproof.fixtures import lanes
from meshproof.fixtures.history import History
from meshproof.fixtures.processors import Processors, Times, read_times, starved
from tests.histories import consistently, eventually, history, percentile, row
from tests.paper_suite import HOLDS
from tests.test_lanes import COUNT, run
from tests.test_plugin import suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

BUSY = "#"
NEVER = eventually(since=10.0, within=4.0)
"""From 10 s, within 4 s."""


@dataclass
class Ticks:
    """A machine's clock and its ticks, a hundred in each half second, that are spent as told."""

    told: str = ""
    seconds: float = 0.0
    spent: int = 0
    all: int = 0

    def now(self) -> float:
        return self.seconds

    def read(self) -> Times:
        return self.spent, self.all

    def looked_at(self) -> Processors:
        processors = Processors(self, self.read)
        processors.look()
        for letter in self.told:
            self.seconds += 0.5
            self.all += 100
            self.spent += 99 if letter == BUSY else 90
            processors.look()
        return processors


@pytest.mark.parametrize(
    ("told", "full"), [("####", True), ("..####", True), ("###", False), ("###.", False), ("##.##", False), ("", False)]
)
def test_a_burst_is_nothing_to_give_way_for(told: str, full: bool) -> None:
    """Two seconds without a pause are full, less are not, and what was before does not count."""
    assert Ticks(told).looked_at().full() is full


def test_full_seconds_are_those_of_the_time_asked_about() -> None:
    """Looks that reach over its ends count for the part inside."""
    processors = Ticks("#.##").looked_at()
    assert processors.full_seconds(0.0, 2.0) == pytest.approx(1.5)
    assert processors.full_seconds(0.25, 1.25) == pytest.approx(0.5)
    assert processors.full_seconds(5.0, 9.0) == 0.0


LATE = history((row("eeeeeeeeeeee", begin=10.0), NEVER))


@pytest.mark.parametrize("told", ["#" * 28, "..###" + "#" * 20 + "..#", "#" * 99])
def test_what_came_too_late_on_a_full_machine_has_an_excuse(told: str) -> None:
    """Full for eight tenths of the time in which the promise should have come true and ten seconds before it."""
    assert "this machine, which carries the fleet" in starved(LATE, Ticks(told).looked_at())


@pytest.mark.parametrize("told", ["." * 28, "." * 20 + "#" * 8, "#" * 20 + "." * 8, "." * 28 + "#" * 28, ""])
def test_what_came_too_late_otherwise_has_none(told: str) -> None:
    """Full since the promise only, which is a burst, or before it only, or after it, or nobody looked."""
    assert starved(LATE, Ticks(told).looked_at()) == ""


def test_a_percentile_of_times_has_the_same_excuse() -> None:
    """The time is that of its samples."""
    late = history((row("eeeee", begin=10.0), percentile(since=10.0)))
    assert starved(late, Ticks("#" * 22).looked_at())
    assert starved(late, Ticks("." * 20 + "##").looked_at()) == ""


@pytest.mark.parametrize(
    "broken",
    [
        history((row("wwew"), consistently(during=1.0))),
        history(
            (row("eeeeeeeeeeee", begin=10.0), NEVER), (row("wwew", begin=16.0), consistently(since=16.0, during=1.0))
        ),
        history((row("wwww", begin=10.0), NEVER)),
    ],
    ids=["it is about no time", "another one is about no time", "nothing failed"],
)
def test_nothing_else_is_excused(broken: History) -> None:
    """An answer from the wrong place after the right ones is not late."""
    assert starved(broken, Ticks("#" * 40).looked_at()) == ""


def test_what_the_host_takes_away_is_spent(tmp_path: Path) -> None:
    """Of the columns of /proc/stat idle and iowait are left over, steal is not, and guests are not counted twice."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 20 30 400 5 6 7 80 9 9\ncpu0 1 1 1 1\n")
    assert read_times(stat) == (10 + 20 + 30 + 6 + 7 + 80, 10 + 20 + 30 + 400 + 5 + 6 + 7 + 80)


@pytest.mark.parametrize("text", ["", "nothing\n", "cpu one two\n"])
def test_a_machine_that_tells_nothing_is_never_full(tmp_path: Path, text: str) -> None:
    """Nor is one without the file."""
    stat = tmp_path / "stat"
    assert read_times(stat) is None
    stat.write_text(text)
    assert read_times(stat) is None
    processors = Processors(Ticks(), lambda: read_times(stat))
    for _ in range(9):
        processors.look()
    assert not processors.full()
    assert processors.full_seconds(0.0, 9.0) == 0.0


IN_TURN = """
from meshproof.fixtures.processors import Processors
last = [-1, 0]  # who ended last, and how often somebody had looked by then
def busy(name):
    with lock:
        number = len(most)
        inside.append(name); most.append(len(inside))
    while last[0] != number - 1 or len(Processors.looks) < last[1] + 2:
        threading.Event().wait(0.002)
    with lock:
        inside.remove(name)
    last[:] = number, len(Processors.looks)
"""


def test_fewer_run_at_once_while_the_processors_are_full(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve begin, and as they end others follow until four are left; no case is left out."""
    looks: list[bool] = []

    def full(_: Processors) -> bool:
        looks.append(True)
        return True

    monkeypatch.setattr(lanes, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(lanes, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(Processors, "looks", looks, raising=False)
    monkeypatch.setattr(Processors, "full", full)
    body = COUNT + IN_TURN + HOLDS.replace("    claim(", "    busy('other')\n    claim(")
    body += "\ndef test_fewer():\n    assert len(most) == 20 and max(most) <= 11 and max(most[16:]) <= 4\n"
    result = run(suite, body, fleet="a-b-c-d-e")
    assert result.ret == 0
    result.assert_outcomes(passed=21)
