"""What this machine looks like from outside: the raw state that a fleet must leave as it found it.

Reads the kernel and the file system only; it knows nothing of how a fleet is made or taken down,
so a hole in the tear-down cannot hide here too. Left out: lifetimes that count down by themselves,
kernel threads, meshproof's own cache and state directories, and the places a caller names.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINES_SHOWN = 8
WATCHED = ("/etc", "/run", "/var/lib", "/tmp", "/var/tmp")  # compared, never written
COUNTING_DOWN = frozenset({"valid_life_time", "preferred_life_time", "expires", "used", "age"})


@dataclass(frozen=True, slots=True)
class Machine:
    """Lines per aspect; two machines are the same when all their lines are."""

    aspects: dict[str, frozenset[str]]

    def difference(self, later: Machine) -> dict[str, dict[str, list[str]]]:
        """aspect -> {"gone": …, "new": …}, only where they differ."""
        found = {}
        for aspect, before in self.aspects.items():
            after = later.aspects[aspect]
            if before != after:
                found[aspect] = {"gone": _some(before - after), "new": _some(after - before)}
        return found


def _some(lines: frozenset[str]) -> list[str]:
    return [line[:200] for line in sorted(lines)[:LINES_SHOWN]]


def look(leave_out: Iterable[Path] = ()) -> Machine:
    """The machine now. `leave_out` are folders that other work may change meanwhile."""
    return Machine(
        {
            "links": _ip("-d", "link"),
            "addresses": _ip("address"),
            "routes": _ip("route", "show", "table", "all"),
            "routes6": _ip("-6", "route", "show", "table", "all"),
            "rules": _ip("rule"),
            "neighbours": frozenset(line for line in _ip("neigh") if "meshproof" in line or "100.66" in line),
            "namespaces": _namespaces(),
            "nft": _nft(),
            "mounts": frozenset(Path("/proc/self/mountinfo").read_text().splitlines()),
            "processes": _processes(),
            "files": _files(leave_out),
        }
    )


def _ip(*what: str) -> frozenset[str]:
    output = subprocess.run(["ip", "-j", *what], capture_output=True, text=True, check=True).stdout
    return frozenset(json.dumps(_steady(entry), sort_keys=True) for entry in json.loads(output or "[]"))


def _nft() -> frozenset[str]:
    output = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return frozenset(json.dumps(entry, sort_keys=True) for entry in json.loads(output)["nftables"])


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(entry) for key, entry in value.items() if key not in COUNTING_DOWN}
    if isinstance(value, list):
        return [_steady(entry) for entry in value]
    return value


def _namespaces() -> frozenset[str]:
    """Names `ip netns` shows, and every network, PID and mount namespace some process is in."""
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    held = set()
    for entry in _living():
        for kind in ("net", "pid", "mnt"):
            try:
                held.add(os.readlink(entry / "ns" / kind))
            except OSError:
                continue  # it has ended meanwhile
    return frozenset([*named, *held])


def _living() -> Iterator[Path]:
    """Every process that is no zombie: how soon the dead are collected is the machine's first process's affair."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":
                yield entry


def _processes() -> frozenset[str]:
    found = set()
    for entry in _living():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            status = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if command:
            found.add(f"{entry.name} {status[19]} {command}")
    return frozenset(found)


def _files(skip: Iterable[Path]) -> frozenset[str]:
    """Path, mode, size and time of every file, by `find` because a home folder may hold a quarter of a million."""
    home = Path.home()
    left_out = [*skip, home / ".cache", home / "go" / "pkg", home / ".local" / "state" / "meshproof"]
    unseen = [word for path in left_out for word in ("-path", str(path.resolve()), "-prune", "-o")]
    what = ["(", "-type", "d", "-printf", r"%p %m\n", ")", "-o", "-printf", r"%p %m %s %T@\n"]
    output = subprocess.run(["find", *WATCHED, str(home), *unseen, *what], capture_output=True, text=True).stdout
    return frozenset(output.splitlines())
