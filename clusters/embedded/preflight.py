"""Can this machine carry an embedded fleet? Asked by `up` before it makes anything, and by `doctor`.

Each check looks and leaves nothing: what must be tried is tried in namespaces of a child
that ends at once. Nothing is built or installed. A check that passed can still be wrong a
second later (a disk fills), so bring-up keeps its own errors.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters import places
from meshproof.clusters.embedded import addresses, binaries, occupied
from meshproof.clusters.fleet import EnvironmentUnfit, FleetSpec, Progress

HOST_PYTHON = "/usr/bin/python3"
"""What pods run, whatever runs meshproof itself."""
HOST_PYTHON_MIN = (3, 9)
FREE_MIB_MIN = 500
CLUSTER_MIB = 1024
_PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
}
_NEW_NAMESPACES = "unshare --pid --fork --kill-child=KILL --net --mount --mount-proc --propagation private --"
_VETH = "ip link add probe0 type veth peer name probe1"
_TABLE = "nft add table ip probe"
_TRIAL_SECONDS_MAX = 20.0
_ALONE = "no other fleet"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer: what was seen, and what to do about it (empty when ok). A check that is not `required` only warns."""

    name: str
    ok: bool
    seen: str
    fix: str = ""
    required: bool = True


def checks(spec: FleetSpec | None) -> list[Check]:
    """Every check, also after one that failed; with a spec also whether that fleet has room here."""
    return list(_each(spec))


def require(spec: FleetSpec, progress: Progress = lambda _: None) -> None:
    """Raises `EnvironmentUnfit` with the first required check that fails; warnings go to `progress`."""
    for check in _each(spec):
        if check.ok:
            continue
        if check.required:
            opening = "" if check.name == _ALONE else "no embedded fleet here: "
            raise EnvironmentUnfit(f"{opening}{check.seen}; {check.fix}")
        progress(f"warning: {check.seen}; {check.fix}")


def _each(spec: FleetSpec | None) -> Iterator[Check]:
    """Lazily, and in an order in which the first failure is the cause of the later ones."""
    yield _linux()
    yield _root()
    yield _commands()
    yield _library()
    yield _python()
    yield _overlay()
    yield _trial("namespaces", _VETH, "run outside a container, or in one with CAP_SYS_ADMIN and CAP_NET_ADMIN")
    yield _trial("nftables", _TABLE, "use a kernel with nf_tables")
    yield _disk("state disk", places.state_directory(), "MESHPROOF_STATE")
    yield from _control_plane()
    yield _memory(len(spec.clusters) if spec else 2)
    yield _alone(spec)
    yield _addresses(spec)


def _check(name: str, ok: bool, seen: str, fix: str) -> Check:
    return Check(name, ok, seen, "" if ok else fix)


def _linux() -> Check:
    seen = f"{platform.system()} {platform.release()}"
    return _check("Linux", platform.system() == "Linux", seen, "an embedded fleet needs Linux's network namespaces")


def _root() -> Check:
    uid = os.geteuid()
    fix = f"run the same command as root: sudo {sys.executable} -m meshproof ..."
    return _check("root", uid == 0, "you are root" if uid == 0 else f"you are not root (uid {uid})", fix)


def _commands() -> Check:
    missing = [name for name in _PACKAGES if not shutil.which(name)]
    packages = " ".join(sorted({_PACKAGES[name] for name in missing}))
    fix = f"apt install {packages}, or add /usr/sbin to PATH"
    seen = f"{', '.join(missing)} cannot be found" if missing else ", ".join(_PACKAGES)
    return _check("commands", not missing, seen, fix)


def _library() -> Check:
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        seen = f"libnftables.so.1 cannot be loaded ({error})"
        return Check("libnftables", ok=False, seen=seen, fix="apt install libnftables1")
    return Check("libnftables", ok=True, seen="libnftables.so.1")


def _python() -> Check:
    wanted = ".".join(map(str, HOST_PYTHON_MIN))
    fix = f"pods run it: apt install python3 ({wanted} or newer)"
    program = "import sys; print(*sys.version_info[:3])"
    try:
        done = subprocess.run([HOST_PYTHON, "-I", "-c", program], capture_output=True, text=True, timeout=20)
        release = tuple(map(int, done.stdout.split()))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return Check("python for pods", ok=False, seen=f"{HOST_PYTHON} does not run", fix=fix)
    seen = f"{HOST_PYTHON} is {'.'.join(map(str, release)) or 'broken'}"
    return _check("python for pods", release >= HOST_PYTHON_MIN, seen, fix)


def _overlay() -> Check:
    known = "overlay" in Path("/proc/filesystems").read_text().split()
    loadable = not known and _succeeds(["modprobe", "--dry-run", "--quiet", "overlay"])
    seen = "in the kernel" if known else "a module that can be loaded" if loadable else "the kernel has no overlayfs"
    return _check("overlayfs", known or loadable, seen, "use a kernel with overlayfs (CONFIG_OVERLAY_FS)")


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _trial(name: str, command: str, fix: str) -> Check:
    """Run a command in namespaces like a fleet's; they end with it."""
    try:
        done = subprocess.run(
            [*_NEW_NAMESPACES.split(), *command.split()],
            capture_output=True,
            text=True,
            timeout=_TRIAL_SECONDS_MAX,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, ok=False, seen=f"cannot try `{command}` in new namespaces ({error})", fix=fix)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        return Check(name, ok=False, seen=f"`{command}` fails in new namespaces ({reason})", fix=fix)
    return Check(name, ok=True, seen="tried in namespaces that are gone again")


def _disk(name: str, place: Path, variable: str) -> Check:
    there = next(parent for parent in (place, *place.parents) if os.path.lexists(parent))
    elsewhere = f"point {variable} elsewhere"
    try:
        if not there.is_dir():
            return Check(name, ok=False, seen=f"{there} is not a directory", fix=f"move it away, or {elsewhere}")
        if not os.access(there, os.W_OK | os.X_OK):
            return Check(name, ok=False, seen=f"{there} cannot be written to", fix=elsewhere)
        found = os.statvfs(there)
    except OSError as error:
        return Check(name, ok=False, seen=f"{there} cannot be used ({error.strerror})", fix=elsewhere)
    free = found.f_bavail * found.f_frsize // 2**20
    if found.f_files and not found.f_favail:
        return Check(name, ok=False, seen=f"the disk of {there} has no inode free", fix=f"free some, or {elsewhere}")
    fix = f"free {FREE_MIB_MIN} MiB, or {elsewhere}"
    return _check(name, free >= FREE_MIB_MIN, f"the disk of {there} has {free} MiB free", fix)


def _control_plane() -> Iterator[Check]:
    """The binaries; where they still have to be built, also room for them. Go's own caches are the builder's check."""
    name = "control plane"
    try:
        found = binaries.find_built()
        go = None if found else binaries.recipe().go
    except EnvironmentUnfit as error:
        yield Check(name, ok=False, seen=str(error), fix="use a machine that the control plane can be built for")
        return
    if found:
        yield Check(name, ok=True, seen=f"Kubernetes {found.kubernetes} in {found.directory} ({found.origin})")
    elif go:
        yield _disk("cache disk", places.cache_directory(), "MESHPROOF_CACHE")
        source = f"Go {'.'.join(map(str, go.release))}" + ("" if go.command else " from PyPI")
        yield Check(name, ok=True, seen=f"not built yet; the first `up` builds it with {source}")


def _memory(members: int) -> Check:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    wanted = members * CLUSTER_MIB
    fix = f"{members} clusters want about {wanted} MiB: free some, or use a smaller fleet"
    ok = available >= wanted
    return Check("memory", ok, f"{available} MiB of memory are available", "" if ok else fix, required=False)


def _alone(spec: FleetSpec | None) -> Check:
    own, living = places.fleet_directory(spec.name) if spec else None, occupied.living_fleets()
    others = sorted(str(fleet) for fleet in living if fleet != own)
    if others and spec is None:
        return Check(_ALONE, ok=True, seen=f"a fleet is up: {others[0]}")
    if others:
        seen = f"another embedded fleet is up ({others[0]}), and a machine carries one at a time"
        return Check(_ALONE, ok=False, seen=seen, fix=f"run first: {_down(Path(others[0]))}")
    return Check(_ALONE, ok=True, seen=f"{own.name} itself is up" if own and own in living else "none is up")


def _down(fleet: Path) -> str:
    """What ends that fleet, also when it is of another state directory than ours."""
    state = fleet.parent.parent
    return f"{'' if state == places.state_directory() else f'MESHPROOF_STATE={state} '}meshproof down {fleet.name}"


def _addresses(spec: FleetSpec | None) -> Check:
    ours = addresses.HOST_LINK if occupied.living_fleets() else ""
    try:
        taken = occupied.taken_networks(ignore_link=ours)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return Check("addresses", ok=False, seen=f"`ip -j` cannot be read ({error})", fix="apt install iproute2")
    wanted = occupied.wanted_networks(spec)
    for name, network, other, holder in occupied.collisions(wanted, taken):
        where = f"{place}: " if spec and (place := _place(spec, name)) else ""
        return Check(
            "addresses",
            ok=False,
            seen=f"{where}{name} {network} overlaps {other} of this machine ({holder})",
            fix="choose another in the fleet file" if where else "take that away first",
        )
    return Check("addresses", ok=True, seen=f"{len(wanted)} networks are free")


def _place(spec: FleetSpec, name: str) -> str:
    """file:line of "east's nodeCIDR", or nothing for what no fleet file says."""
    from meshproof.clusters.markedyaml import UnreadableError, read

    member, _, key = name.partition("'s ")
    index = next((i for i, cluster in enumerate(spec.clusters) if key and cluster.name == member), None)
    if index is None:
        return ""
    try:
        return f"{spec.source}:{read(spec.source).line(('clusters', index, key))}"
    except (UnreadableError, KeyError):
        return str(spec.source)
