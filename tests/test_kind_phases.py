"""Phases of a bring-up: their order, where they may begin and stop, and what is known when one fails."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from meshproof.clusters import fleetfile
from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.kind import phases
from meshproof.clusters.kind.bringup import PHASES, Bringup
from meshproof.clusters.kind.phases import Phase


def made(*names: str, log: list[str], broken: str = "") -> list[Phase]:
    def run(name: str, deadline: float) -> None:
        log.append(name)
        if name == broken:
            raise ValueError(f"{name} broke\nand more")

    return [Phase(name, 10, partial(run, name)) for name in names]


def quiet(line: str) -> None:
    del line


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [("", "", "abcd"), ("b", "", "bcd"), ("", "b", "ab"), ("b", "c", "bc"), ("c", "c", "c")],
)
def test_a_part_has_both_its_ends(first: str, last: str, names: str) -> None:
    """--from and --until name phases that are done; nothing named means the ends."""
    assert "".join(p.name for p in phases.chosen(made(*"abcd", log=[]), first, last)) == names


@pytest.mark.parametrize(("first", "last"), [("x", ""), ("", "x"), ("c", "b")])
def test_a_part_that_cannot_be_is_refused_with_the_names_there_are(first: str, last: str) -> None:
    """An unknown name, or an end before its beginning."""
    with pytest.raises(EnvironmentUnfit, match="a, b, c, d"):
        phases.chosen(made(*"abcd", log=[]), first, last)


def test_phases_run_in_order_and_leave_their_times(tmp_path: Path) -> None:
    """The journal adds the seconds up, in the order in which they passed."""
    log: list[str] = []
    journal = phases.carry_out(made(*"abc", log=log), tmp_path, quiet, whole=True)
    assert log == ["a", "b", "c"]
    assert phases.read(tmp_path) == journal
    assert journal.state == "ready"
    assert list(journal.timings()) == ["a", "b", "c"]
    assert (tmp_path / phases.STATUS).stat().st_mode & 0o777 == 0o600


def test_a_part_of_the_way_is_not_ready(tmp_path: Path) -> None:
    """Stopped as asked, and taken up again: what was done before keeps its time."""
    log: list[str] = []
    every = made(*"abc", log=log)
    assert phases.carry_out(every[:2], tmp_path, quiet, whole=False).state == "waiting"
    journal = phases.carry_out(every[2:], tmp_path, quiet, whole=True)
    assert journal.state == "ready"
    assert list(journal.seconds) == ["a", "b", "c"]


def test_a_phase_that_fails_is_named(tmp_path: Path) -> None:
    """Later phases are not begun, and the journal has the error's first line."""
    log: list[str] = []
    with pytest.raises(ValueError, match="b broke"):
        phases.carry_out(made(*"abc", log=log, broken="b"), tmp_path, quiet, whole=True)
    journal = phases.read(tmp_path)
    assert journal is not None
    assert (journal.state, journal.phase, journal.detail) == ("failed", "b", "phase b: b broke")
    assert log == ["a", "b"]


def test_a_journal_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Neither a missing nor a torn file says anything."""
    assert phases.read(tmp_path) is None
    (tmp_path / phases.STATUS).write_text("{")
    assert phases.read(tmp_path) is None


def test_a_kind_fleet_comes_up_in_named_phases_with_deadlines() -> None:
    """The documented names, each with a deadline."""
    spec = fleetfile.load(fleetfile.FLEETS / "kind-two.yaml")
    every = Bringup(spec, Path("nowhere"), quiet).phases()
    assert tuple(p.name for p in every) == PHASES
    assert all(p.seconds_max > 0 for p in every)
