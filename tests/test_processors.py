"""When the processors are full, fewer cases run at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from meshproof.fixtures import lanes
from meshproof.fixtures.processors import Processors, Times, read_times
from tests.paper_suite import HOLDS
from tests.test_lanes import COUNT, run
from tests.test_plugin import suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

BUSY = "#"


@dataclass
class Ticks:
    """A machine's ticks, a hundred in each half second, that are spent as told."""

    told: str = ""
    spent: int = 0
    all: int = 0

    def read(self) -> Times:
        return self.spent, self.all

    def looked_at(self) -> Processors:
        processors = Processors(self.read)
        processors.look()
        for letter in self.told:
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


def test_what_the_host_takes_away_is_spent(tmp_path: Path) -> None:
    """Of the columns of /proc/stat nice, idle and iowait are left over, steal is not, guests are not counted twice."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 20 30 400 5 6 7 80 9 9\ncpu0 1 1 1 1\n")
    assert read_times(stat) == (10 + 30 + 6 + 7 + 80, 10 + 20 + 30 + 400 + 5 + 6 + 7 + 80)


@pytest.mark.parametrize("text", ["", "nothing\n", "cpu one two\n"])
def test_a_machine_that_tells_nothing_is_never_full(tmp_path: Path, text: str) -> None:
    """Nor is one without the file."""
    stat = tmp_path / "stat"
    assert read_times(stat) is None
    stat.write_text(text)
    assert read_times(stat) is None
    processors = Processors(lambda: read_times(stat))
    for _ in range(9):
        processors.look()
    assert not processors.full()


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
    """Twelve begin, and as they end others follow until six are left; no case is left out."""
    looks: list[bool] = []

    def full(_: Processors) -> bool:
        looks.append(True)
        return True

    monkeypatch.setattr(lanes, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(lanes, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(Processors, "looks", looks, raising=False)
    monkeypatch.setattr(Processors, "full", full)
    body = COUNT + IN_TURN + HOLDS.replace("    claim(", "    busy('other')\n    claim(")
    body += "\ndef test_fewer():\n    assert len(most) == 20 and max(most) <= 11 and max(most[16:]) <= 6\n"
    result = run(suite, body, fleet="a-b-c-d-e")
    assert result.ret == 0
    result.assert_outcomes(passed=21)
