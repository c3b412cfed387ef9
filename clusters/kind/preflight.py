"""Can this machine carry a kind fleet? Asked by `up` before it makes anything.

Each check looks and leaves nothing. What a fix says is a line to type, or to change in the fleet file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from meshproof.clusters import places
from meshproof.clusters.embedded import occupied
from meshproof.clusters.embedded.preflight import Check
from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec, Progress
from meshproof.clusters.kind import engine, images, plan
from meshproof.clusters.kind.engine import Engine

NODE_MIB = 550
CONTROL_PLANE_MIB = 650
BUILD_MIB = 9000
NODE_DISK_MIB = 700
INOTIFY = Path("/proc/sys/fs/inotify")
INSTANCES = (32, 16)
"""max_user_instances that a fleet wants: for the machine itself, and for each node."""
WATCHES = (8192, 4096)
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
SYS_RESOURCE = 24


def checks(spec: FleetSpec) -> list[Check]:
    """Every check, also after one that failed."""
    return list(_each(spec))


def require(spec: FleetSpec, progress: Progress) -> None:
    """Raises `EnvironmentUnfit` with the first required check that fails; warnings go to `progress`."""
    for check in _each(spec):
        if not check.ok and check.required:
            raise EnvironmentUnfit(f"no kind fleet here: {check.seen}; {check.fix}")
        if not check.ok:
            progress(f"warning: {check.seen}; {check.fix}")


def _each(spec: FleetSpec) -> Iterator[Check]:
    found = engine.running()
    yield docker(found)
    yield privileges(found, _capabilities())
    yield overlay(Path("/proc/filesystems").read_text())
    yield cgroups(CGROUPS)
    nodes = sum(cluster.workers for cluster in spec.clusters)
    for name, wanted in (("max_user_instances", INSTANCES), ("max_user_watches", WATCHES)):
        yield inotify(name, int((INOTIFY / name).read_text()), wanted[0] + wanted[1] * nodes)
    yield memory(len(spec.clusters), nodes, Path("/proc/meminfo").read_text())
    built = found is not None and images.there(found)
    yield disk(places.cache_directory(), NODE_DISK_MIB * nodes + (0 if built else BUILD_MIB))
    yield _addresses(spec)


def _check(name: str, ok: bool, seen: str, fix: str, *, required: bool = True) -> Check:
    return Check(name, ok, seen, "" if ok else fix, required)


def docker(found: Engine | None) -> Check:
    """An Engine that answers, or the means to start one."""
    if found:
        whose = f"our own at {found.host}" if found.ours else "this machine's own"
        return Check("Docker Engine", ok=True, seen=f"one answers, {whose}")
    able = os.geteuid() == 0 and shutil.which("apt-get") is not None and shutil.which("unshare") is not None
    seen = "none answers; `up` starts one of its own from Debian's packages" if able else "no Docker Engine answers"
    return _check(
        "Docker Engine", able, seen, "start Docker, set DOCKER_HOST, or run this as root on Debian 12 or newer"
    )


def privileges(found: Engine | None, capabilities: int) -> Check:
    """Privileged containers want every capability; without SYS_RESOURCE only a runtime of ours can start them."""
    whole = bool(capabilities & (1 << SYS_RESOURCE))
    ok = whole or found is None or found.ours
    seen = "all that privileged containers need" if whole else "CAP_SYS_RESOURCE is missing"
    seen += "" if whole or not ok else ", and our own Engine does without"
    return _check("capabilities", ok, seen, "stop that Docker Engine, so that `up` starts one that can do without")


def overlay(filesystems: str) -> Check:
    known = "overlay" in filesystems.split()
    seen = "overlayfs is there" if known else "overlayfs is not loaded"
    return _check("overlayfs", known, seen, "run: modprobe overlay", required=False)


def cgroups(root: Path) -> Check:
    """Which version, and whether the kubelet finds its controllers."""
    unified = (root / "cgroup.controllers").exists()
    there = set((root / "cgroup.controllers").read_text().split() if unified else (p.name for p in root.glob("*")))
    missing = [name for name in CONTROLLERS if not any(name in entry.split(",") for entry in there)]
    version = "v2" if unified else "v1"
    seen = f"cgroup {version} without {', '.join(missing)}" if missing else f"cgroup {version} with all controllers"
    return _check("cgroups", not missing, seen, f"mount them below {root}, or enable them on the kernel's command line")


def inotify(name: str, found: int, wanted: int) -> Check:
    """Too few show as "too many open files" in kubelets and containerd, minutes later."""
    seen = f"fs.inotify.{name} is {found}, this fleet wants {wanted}"
    return _check(f"inotify {name}", found >= wanted, seen, f"run: sysctl -w fs.inotify.{name}={wanted * 2}")


def memory(members: int, nodes: int, meminfo: str) -> Check:
    available = next(int(line.split()[1]) // 1024 for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    wanted = members * CONTROL_PLANE_MIB + nodes * NODE_MIB
    seen = f"{available} MiB of memory are available, this fleet wants about {wanted}"
    return _check("memory", available >= wanted, seen, "free some, or use a smaller fleet", required=False)


def disk(place: Path, wanted: int) -> Check:
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free // 2**20
    seen = f"the disk of {there} has {free} MiB free, this fleet wants {wanted}"
    return _check("disk", free >= wanted, seen, "free some, or point MESHPROOF_CACHE elsewhere")


def _addresses(spec: FleetSpec) -> Check:
    wanted = {"the fleet's nodeCIDR": IPv4Network(plan.network_of(spec))}
    try:
        return addresses(wanted, occupied.taken_networks(ignore_link=plan.bridge_name(spec)), spec)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return Check("addresses", ok=False, seen=f"`ip -j` cannot be read ({error})", fix="apt install iproute2")


def addresses(wanted: Mapping[str, IPv4Network], taken: tuple[tuple[IPv4Network, str], ...], spec: FleetSpec) -> Check:
    """Only the nodes' network touches the machine; pods and services are known to nodes alone."""
    for name, network, other, holder in occupied.collisions(wanted, taken):
        seen = f"{spec.source}: {name} {network} overlaps {other} of this machine ({holder})"
        return Check("addresses", ok=False, seen=seen, fix="choose another in the fleet file")
    return Check("addresses", ok=True, seen=f"{', '.join(map(str, wanted.values()))} is free")


def _capabilities() -> int:
    """The bounding set of this process, which that of an Engine we start would be too."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
