"""The lock of a fleet: many together or one alone, for no longer than its holder lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.clusters.fleet import EnvironmentUnfit, Fleet, FleetSpec
from meshproof.fixtures import fleetlock
from meshproof.fixtures.fleetlock import FleetBusy, FleetLock, mesh_alone, mesh_used


def lock(path: Path, told: list[str] | None = None) -> FleetLock:
    kept: list[str] = [] if told is None else told
    return FleetLock(path / "cases.lock", kept.append)


def test_many_hold_it_together(tmp_path: Path) -> None:
    """Ordinary users do not wait for each other."""
    first, second = lock(tmp_path), lock(tmp_path)
    first.together()
    second.together(within=0)


def test_one_holds_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither kind is had while another has it alone, and who waits is told why."""
    monkeypatch.setattr(fleetlock, "SILENT_SECONDS_MAX", 0.0)
    told: list[str] = []
    first, second, third = lock(tmp_path), lock(tmp_path, told), lock(tmp_path)
    first.alone()
    with pytest.raises(FleetBusy, match="another run has the fleet to itself"):
        second.together(within=0.3)
    with pytest.raises(FleetBusy, match="others still use the fleet"):
        third.alone(within=0)
    assert told == ["waiting: another run has the fleet to itself (0 min at most)"]
    first.release()
    lock(tmp_path).alone(within=0)


def test_who_waits_to_be_alone_holds_nothing(tmp_path: Path) -> None:
    """Two that hold it together and both want it alone do not wait for each other for ever."""
    first, second = lock(tmp_path), lock(tmp_path)
    first.together()
    second.together()
    with pytest.raises(FleetBusy):
        first.alone(within=0)
    second.alone(within=0)


def test_who_waited_in_vain_waits_once(tmp_path: Path) -> None:
    """The next case of that process is refused at once, with the same words."""
    first, second = lock(tmp_path), lock(tmp_path)
    first.alone()
    for _ in range(2):
        with pytest.raises(FleetBusy, match="for 0 s by now"):
            second.together(within=0)


def test_no_defect_comes_on_under_a_run(tmp_path: Path) -> None:
    """Who switches defects waits for the runs that expect a healthy mesh, and they for him."""
    fleet = Fleet(FleetSpec("two", "embedded", "reference", "reference", (), tmp_path), (), tmp_path)
    run = FleetLock(tmp_path / fleetlock.MESH, print)
    run.together()
    with pytest.raises(EnvironmentUnfit, match="fleet two: others still use the fleet"), mesh_alone(fleet, print, 0):
        pytest.fail("a run stands on it")
    assert mesh_used(fleet)
    run.release()
    assert not mesh_used(fleet)
    with mesh_alone(fleet, print, 0), pytest.raises(FleetBusy):
        run.together(within=0)
    FleetLock(tmp_path / fleetlock.MESH, print).together(within=0)
    assert not mesh_used(replace(fleet, directory=tmp_path / "gone"))


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    """A process that was killed leaves no lock behind."""
    hold = (
        "import sys, pathlib; from meshproof.fixtures.fleetlock import FleetLock\n"
        "FleetLock(pathlib.Path(sys.argv[1]), print).alone(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "cases.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(FleetBusy):
            lock(tmp_path).together(within=0)
        process.send_signal(signal.SIGKILL)
        process.wait()
    lock(tmp_path).alone(within=30)
