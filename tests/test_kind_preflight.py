"""Preflight of a kind fleet: every check says what it saw, and a failing one what to type."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from meshproof.clusters import fleetfile
from meshproof.clusters.kind import preflight
from meshproof.clusters.kind.engine import Engine

SPEC = fleetfile.load(fleetfile.FLEETS / "kind-two.yaml")
ALL, LACKING = 0x1FFFFFFFFFF, 0x1FFFEFFFFFF
USERS, OURS = Engine("", "", ours=False), Engine("unix:///x", "", ours=True)


def version_1(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir()
    return root


def test_old_cgroups_do(tmp_path: Path) -> None:
    """Version 1 with the kubelet's controllers, joined ones included, is enough."""
    check = preflight.cgroups(version_1(tmp_path, "cpu,cpuacct", "cpuset", "memory", "pids"))
    assert check.ok
    assert "v1" in check.seen


def test_unified_cgroups_do(tmp_path: Path) -> None:
    """Version 2 tells its controllers in a file."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    check = preflight.cgroups(tmp_path)
    assert check.ok
    assert "v2" in check.seen


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    """The kubelet does not start without it."""
    check = preflight.cgroups(version_1(tmp_path, "cpu", "cpuset", "memory"))
    assert not check.ok
    assert "pids" in check.seen
    assert check.fix


@pytest.mark.parametrize(
    ("engine", "capabilities", "ok"),
    [(None, ALL, True), (None, LACKING, True), (USERS, ALL, True), (USERS, LACKING, False), (OURS, LACKING, True)],
)
def test_only_our_engine_does_without_a_capability(engine: Engine | None, capabilities: int, ok: bool) -> None:
    """Without CAP_SYS_RESOURCE a privileged container starts only behind a runtime that asks for less."""
    check = preflight.privileges(engine, capabilities)
    assert check.ok is ok
    assert bool(check.fix) is not ok


def test_too_few_inotify_instances_come_with_the_line_to_type() -> None:
    """The fix is a command, and its value is enough."""
    check = preflight.inotify("max_user_instances", 64, 96)
    assert not check.ok
    assert check.fix == "run: sysctl -w fs.inotify.max_user_instances=192"
    assert preflight.inotify("max_user_instances", 128, 96).ok


def test_little_memory_is_a_warning() -> None:
    """It may still do."""
    check = preflight.memory(2, 4, "MemTotal: 9 kB\nMemAvailable:    1048576 kB\n")
    assert not check.ok
    assert not check.required
    assert "1024 MiB" in check.seen


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    """Also for a folder that is not there yet."""
    assert not preflight.disk(tmp_path / "not" / "yet", 10**12).ok
    assert preflight.disk(tmp_path / "not" / "yet", 1).ok


def test_a_taken_network_is_refused_with_what_has_it() -> None:
    """The sentence names the fleet file, the network in the way and who has that."""
    wanted = {"the fleet's nodeCIDR": IPv4Network("10.111.0.0/24")}
    taken = ((IPv4Network("10.0.0.0/8"), "route on tun0"),)
    check = preflight.addresses(wanted, taken, SPEC)
    assert not check.ok
    assert "tun0" in check.seen
    assert str(SPEC.source) in check.seen
    assert preflight.addresses(wanted, (), SPEC).ok


def test_no_engine_is_no_obstacle_where_one_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root with apt-get needs none; anybody else is told what to do."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert preflight.docker(None).ok
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    check = preflight.docker(None)
    assert not check.ok
    assert "DOCKER_HOST" in check.fix
