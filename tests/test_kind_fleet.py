"""Real kind clusters, brought up, used and taken down: slow, root only, and asked for by name (`pytest -m kind`).

Where there is no Docker Engine one of ours is started, so nothing here is ever skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshproof.clusters.kind import engine
from meshproof.clusters.kind.provider import KindProvider
from meshproof.clusters.places import fleet_directory

pytestmark = [pytest.mark.fleet, pytest.mark.kind]

UP_SECONDS_MAX = 1800.0  # on a machine that has no image yet
RUN_SECONDS_MAX = 300.0
DOWN_SECONDS_MAX = 180.0
POLL_SECONDS = 0.2
FLEET = "kind-two"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory of the test's own, in which nothing is left at the end."""
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    KindProvider().down(FLEET, lambda line: None)


def meshproof(*words: str, seconds_max: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshproof", *words], capture_output=True, text=True, timeout=seconds_max
    )


def remains() -> list[str]:
    """What a kind fleet could have left: our Engine's processes, its bridges, its cgroups, the fleet's files."""
    links = [path.name for path in Path("/sys/class/net").glob("mpk-*")]
    groups = [str(path) for path in engine.CGROUPS.glob(f"**/{engine.cgroup()}")]
    files = [str(path) for path in (fleet_directory(FLEET), engine.directory()) if path.exists()]
    return [*map(str, engine.processes()), *links, *groups, *files]


def tunables() -> dict[str, str]:
    """Settings of the whole machine that a kubelet, a proxy or an Engine like to change."""
    names = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom", "net/ipv4/ip_forward")
    return {name: (Path("/proc/sys") / name).read_text().strip() for name in names}


def test_the_suite_runs_on_real_clusters_and_nothing_is_left(place: Path) -> None:
    """Up, a verdict from real kubelets, down: no process, link, cgroup, file or setting of the machine remains."""
    before = tunables()
    up = meshproof("up", FLEET, seconds_max=UP_SECONDS_MAX)
    assert up.returncode == 0, up.stderr
    run = meshproof("run", "--fleet", FLEET, "-k", "DISC-01 or DISC-04", seconds_max=RUN_SECONDS_MAX)
    assert run.returncode == 0, run.stdout
    assert KindProvider().status(FLEET).phase == "ready"
    down = meshproof("down", FLEET, seconds_max=DOWN_SECONDS_MAX)
    assert down.returncode == 0, down.stderr
    assert remains() == []
    assert tunables() == before
    assert meshproof("down", FLEET, seconds_max=DOWN_SECONDS_MAX).returncode == 0


def test_a_bring_up_can_be_stopped_and_taken_up_again(place: Path) -> None:
    """--until leaves a fleet that is not ready; --from goes on, and does a phase again where it is asked to."""
    assert meshproof("up", FLEET, "--until", "network", seconds_max=UP_SECONDS_MAX).returncode == 0
    status = KindProvider().status(FLEET)
    assert (status.phase, status.detail) == ("starting", "stopped after phase network")
    assert meshproof("up", FLEET, "--from", "clusters", seconds_max=UP_SECONDS_MAX).returncode == 0
    assert KindProvider().status(FLEET).phase == "ready"
    assert meshproof("up", FLEET, "--from", "routes", seconds_max=UP_SECONDS_MAX).returncode == 0
    assert KindProvider().status(FLEET).phase == "ready"


def test_down_clears_up_after_an_engine_and_a_bring_up_that_were_killed(place: Path) -> None:
    """kill -9 of everything in the middle of a bring-up; what the Engine still has on disk goes with the fleet."""
    up = subprocess.Popen([sys.executable, "-m", "meshproof", "up", FLEET], start_new_session=True)
    until = time.monotonic() + UP_SECONDS_MAX
    while not (fleet_directory(FLEET) / "kind").exists():
        assert up.poll() is None
        assert time.monotonic() < until
        time.sleep(POLL_SECONDS)
    os.killpg(up.pid, signal.SIGKILL)
    up.wait(timeout=DOWN_SECONDS_MAX)
    for pid in engine.processes():
        os.kill(pid, signal.SIGKILL)
    assert meshproof("down", FLEET, seconds_max=DOWN_SECONDS_MAX).returncode == 0
    assert remains() == []
    docker = engine.obtain(lambda line: None)
    try:
        assert docker.docker("ps", "--all", "--quiet").split() == []
        assert docker.docker("volume", "ls", "--quiet").split() == []
        assert docker.docker("network", "ls", "--quiet", "--filter=type=custom").split() == []
    finally:
        engine.stop(lambda line: None)
