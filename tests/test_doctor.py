"""Preflight and doctor: each missing thing is one sentence, nothing is made, and a fleet never collides with itself."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from meshproof import doctor
from meshproof.cli import main
from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import binaries, occupied, preflight
from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec


@pytest.fixture
def spec() -> FleetSpec:
    return fleetfile.load(fleetfile.resolve("two"))


@pytest.fixture(autouse=True)
def fit_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which every check passes, whatever the real one is."""
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MESHPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(preflight, "_trial", lambda name, command, fix: preflight.Check(name, ok=True, seen="tried"))
    monkeypatch.setattr(preflight, "_overlay", lambda: preflight.Check("overlayfs", ok=True, seen="in the kernel"))
    monkeypatch.setattr(preflight, "_python", lambda: preflight.Check("python for pods", ok=True, seen="3.11"))
    found = binaries.Binaries(tmp_path, "cache", "v1.36.3")
    monkeypatch.setattr(binaries, "find_built", lambda: found)
    monkeypatch.setattr(occupied, "living_fleets", frozenset)
    monkeypatch.setattr(occupied, "taken_networks", lambda ignore_link: ())


def refusal(spec: FleetSpec) -> str:
    with pytest.raises(EnvironmentUnfit) as caught:
        preflight.require(spec)
    return str(caught.value)


def test_a_fit_machine_is_fit_and_nothing_is_made(spec: FleetSpec, tmp_path: Path) -> None:
    """Preflight passes without making the directories it looks at."""
    preflight.require(spec)
    assert [check.name for check in preflight.checks(spec) if not check.ok] == []
    assert list(tmp_path.iterdir()) == []


def test_without_root_the_sentence_says_what_to_type(spec: FleetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user is told how to become root for one command."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert refusal(spec) == (
        "no embedded fleet here: you are not root (uid 1000); "
        f"run the same command as root: sudo {sys.executable} -m meshproof ..."
    )


def test_missing_commands_are_named_with_their_packages(spec: FleetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nft and ip the packages that have them are named."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name in {"nft", "ip"} else name)
    assert refusal(spec) == (
        "no embedded fleet here: ip, nft cannot be found; apt install iproute2 nftables, or add /usr/sbin to PATH"
    )


def test_a_full_disk_is_told_by_directory_and_size(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk with less than 500 MiB is refused before anything is written."""
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((*real[:4], 12 * 2**20 // real.f_frsize, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert refusal(spec) == (
        f"no embedded fleet here: the disk of {tmp_path} has 12 MiB free; "
        "free 500 MiB, or point MESHPROOF_STATE elsewhere"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_full_cache_matters_only_while_there_is_something_to_build(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once built, the cache is only read."""
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the cache should be")
    preflight.require(spec)
    monkeypatch.setattr(binaries, "find_built", lambda: None)
    assert f"{blocked} is not a directory; move it away, or point MESHPROOF_CACHE elsewhere" in refusal(spec)


def test_another_fleet_is_told_and_the_own_one_is_none(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One fleet at a time: the sentence names the other one, and how to end it."""
    own, other = tmp_path / "state/fleets/two", tmp_path / "elsewhere/fleets/three"
    monkeypatch.setattr(occupied, "living_fleets", lambda: frozenset({own}))
    preflight.require(spec)
    assert [check.seen for check in preflight.checks(spec) if check.name == "no other fleet"] == ["two itself is up"]
    monkeypatch.setattr(occupied, "living_fleets", lambda: frozenset({own, other}))
    assert refusal(spec) == (
        f"another embedded fleet is up ({other}), and a machine carries one at a time; "
        f"run first: MESHPROOF_STATE={tmp_path / 'elsewhere'} meshproof down three"
    )


def test_an_occupied_address_is_told_with_the_line_of_the_fleet_file(
    spec: FleetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says which key of the file meets which address of the machine."""
    taken = ((IPv4Network("10.142.7.0/24"), "address 10.142.7.1 on docker0"),)
    monkeypatch.setattr(occupied, "taken_networks", lambda ignore_link: taken)
    assert refusal(spec) == (
        f"no embedded fleet here: {spec.source}:8: west's podCIDR 10.142.0.0/16 overlaps 10.142.7.0/24 of this machine "
        "(address 10.142.7.1 on docker0); choose another in the fleet file"
    )


def test_little_memory_only_warns(spec: FleetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory is said and tried."""
    monkeypatch.setattr(preflight, "CLUSTER_MIB", 2**30)
    told: list[str] = []
    preflight.require(spec, told.append)
    assert len(told) == 1
    assert told[0].startswith("warning: ")


def test_what_ip_says_is_read_as_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default routes, halves of one, multicast and our own link are no collision; all else is."""
    answers = {
        "addr": [
            {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
            {"ifname": "meshproof0", "addr_info": [{"family": "inet", "local": "100.66.0.1", "prefixlen": 30}]},
            {"ifname": "eth1"},
        ],
        "route": [
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "0.0.0.0/1", "dev": "tun0"},
            {"dst": "10.0.0.0/8", "dev": "tun0"},
            {"type": "multicast", "dst": "224.0.0.0/4", "dev": "eth0"},
            {"type": "blackhole", "dst": "10.9.0.0/16"},
            {"type": "local", "dst": "192.0.2.2", "dev": "eth0"},
            {"dst": "10.101.0.0/24", "dev": "meshproof0"},
        ],
    }
    monkeypatch.undo()
    monkeypatch.setattr(occupied, "_ip", lambda *arguments: answers[arguments[0]])
    others = {
        (IPv4Network("127.0.0.0/8"), "address 127.0.0.1 on lo"),
        (IPv4Network("10.0.0.0/8"), "route on tun0"),
        (IPv4Network("10.9.0.0/16"), "route (blackhole)"),
        (IPv4Network("192.0.2.2/32"), "route on eth0"),
    }
    assert set(occupied.taken_networks(ignore_link="meshproof0")) == others
    assert set(occupied.taken_networks()) == others | {
        (IPv4Network("100.66.0.0/30"), "address 100.66.0.1 on meshproof0"),
        (IPv4Network("10.101.0.0/24"), "route on meshproof0"),
    }


def test_the_doctor_prints_a_row_a_check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is a row with ok, warn or FAIL; exit code 10 when one failed."""
    assert doctor.examine(fleetfile.load(fleetfile.resolve("two")), as_json=False) == 0
    assert "fleet two can come up here" in capsys.readouterr().out
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert doctor.examine(fleetfile.load(fleetfile.resolve("two")), as_json=False) == 10
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith("root ") and "FAIL" in row and "-m meshproof" in row for row in rows)


def test_the_doctor_speaks_pure_json(capsys: pytest.CaptureFixture[str]) -> None:
    """-o json is one JSON document on stdout, and nothing on stderr."""
    assert main(["doctor", "-o", "json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["fit"] is True
    assert {"name", "ok", "seen", "fix", "required"} == set(content["checks"][0])
    assert err == ""
