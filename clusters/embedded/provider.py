"""Bringing an embedded fleet up and down from the machine's side.

`up` starts one process, the supervisor in namespaces of its own, and waits for it; `down` ends
every process that carries the fleet's mark and removes the fleet's directory. Nothing `down`
needs is remembered by `up`: a fleet that died half-way is found the same way as a healthy one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import addresses, binaries, occupied, pki, preflight, steps
from meshproof.clusters.fleet import Cluster, EnvironmentUnfit, Fleet, FleetSpec, FleetStatus, Progress
from meshproof.clusters.places import fleet_directory, state_directory

MARK = "MESHPROOF_FLEET_DIR"
UP_SECONDS_MAX = 300.0
GONE_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
HEARTBEAT_SECONDS = 2.0
LOG_LINES = 15
PASSED_ON = ("PATH", "HOME")


class EmbeddedProvider:
    """Fleets of real control planes and of pods that are processes, all on this machine."""

    def up(self, spec: FleetSpec, progress: Progress) -> Fleet:
        """See `Provider.up`. A fleet that died is cleared away first; one of another file is refused."""
        if self.find(spec) is None:
            self._refuse_another(spec)
            preflight.require(spec, progress)  # before anything is created, the lock included
        with _lock(progress) as waited:
            running = self.find(spec)
            if running is not None:
                progress(f"fleet {spec.name!r} is already up")
                return running
            self._refuse_another(spec)
            if waited:
                preflight.require(spec, progress)  # the machine may carry the fleet that was waited for
            nodes = sum(cluster.workers for cluster in spec.clusters)
            progress(f"bringing fleet {spec.name!r} up: {len(spec.clusters)} clusters, {nodes} nodes")
            directory = fleet_directory(spec.name)
            found = binaries.find(progress)
            if directory.exists():
                progress(f"clearing away what an earlier fleet {spec.name!r} left")
                _clear(directory)
            began = time.monotonic()
            try:
                _spawn(spec, directory, found)
                _await_ready(spec, directory, progress)
            except EnvironmentUnfit as error:
                kept = _keep_logs(directory)
                _clear(directory)
                raise EnvironmentUnfit(f"{error} (logs: {kept})") from error
            except BaseException:
                _clear(directory)
                raise
            progress(f"fleet {spec.name!r} is ready after {time.monotonic() - began:.1f} s")
            return _fleet(spec, directory)

    def find(self, spec: FleetSpec) -> Fleet | None:
        """The running, ready fleet brought up from a file that says the same as `spec`."""
        directory = fleet_directory(spec.name)
        if self.status(spec.name).phase != "ready" or _spec_of(directory) != _without_source(spec):
            return None
        return _fleet(spec, directory)

    def status(self, name: str) -> FleetStatus:
        """Reads the supervisor's own report and checks that it is alive."""
        directory = fleet_directory(name)
        if not directory.exists():
            return FleetStatus(name, "absent", "", {})
        content = _status(directory)
        phase = str(content.get("phase", "starting"))
        if phase in ("starting", "ready") and not processes_of(directory):
            phase = "dead"
        return FleetStatus(name, phase, str(content.get("detail", "")), content.get("timings", {}))

    def names(self) -> list[str]:
        """Every fleet that has left anything on this machine, running or not."""
        fleets = state_directory() / "fleets"
        return sorted(entry.name for entry in fleets.iterdir()) if fleets.is_dir() else []

    def down(self, name: str, progress: Progress) -> None:
        """See `Provider.down`. An `up` of the same fleet that is under way is ended first."""
        directory = fleet_directory(name)
        if directory.exists():
            progress(f"taking fleet {name!r} down")
        _clear(directory)

    def _refuse_another(self, spec: FleetSpec) -> None:
        directory = fleet_directory(spec.name)
        if self.status(spec.name).phase in ("starting", "ready") and _spec_of(directory) != _without_source(spec):
            raise EnvironmentUnfit(
                f"{spec.source}: a fleet named {spec.name!r} is already up from another fleet file; "
                f"give this one another name, or take that one down first: meshproof down {spec.name}"
            )


def processes_of(directory: Path) -> list[int]:
    """Pids of every process of this machine that carries the fleet's mark in its environment."""
    mark = os.fsencode(f"{MARK}={directory}")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _spawn(spec: FleetSpec, directory: Path, found: binaries.Binaries) -> None:
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)
    shutil.copyfile(spec.source, directory / "fleet.yaml")
    # What was found is handed on: looking again elsewhere, with another environment, may find or build another one.
    handed = {**asdict(found), "directory": str(found.directory.absolute())}
    pki.write_secret(directory / "binaries.json", json.dumps(handed).encode())
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    log = os.open(directory / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    host = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        # setsid forks and leaves, so that the fleet is nobody's child and outlives the one who asked for it.
        subprocess.run(
            [
                *(
                    "setsid",
                    "--fork",
                    "unshare",
                    "--pid",
                    "--fork",
                    "--kill-child=KILL",
                    "--net",
                    "--mount",
                    "--mount-proc",
                ),
                *("--propagation", "private", "--"),
                *(sys.executable, "-m", "meshproof.clusters.embedded.supervisor", str(directory), str(host)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[host],
            cwd="/",
            env={**environment, MARK: str(directory), "PYTHONUNBUFFERED": "1"},
            check=True,
        )
    finally:
        os.close(log)
        os.close(host)


def _await_ready(spec: FleetSpec, directory: Path, progress: Progress) -> None:
    """Follow the supervisor's report, telling each step once and a line every few seconds at least."""
    began = told_at = time.monotonic()
    told: set[str] = set()
    alive = True
    while (now := time.monotonic()) - began < UP_SECONDS_MAX:
        status = _status(directory)
        for step in sorted(set(status.get("timings", {})) - told, key=lambda step: status["timings"][step]):
            told.add(step)
            told_at = now
            progress(f"  {status['timings'][step]:5.1f} s  {step}")
        if status.get("phase") == "ready":
            return
        # A process shows no environment for the instant in which it executes another program: look twice.
        was_alive, alive = alive, bool(processes_of(directory))
        if status.get("phase") == "failed" or not (alive or was_alive):
            raise EnvironmentUnfit(f"fleet {spec.name!r} did not come up: {_why(directory, status)}")
        if now - told_at > HEARTBEAT_SECONDS:
            told_at = now
            what, log = steps.pending(spec, directory, told)
            progress(f"  {now - began:5.1f} s  … still waiting for {what} ({UP_SECONDS_MAX:.0f} s at most), see {log}")
        time.sleep(POLL_SECONDS)
    last = _status(directory).get("detail") or "none"
    raise EnvironmentUnfit(f"fleet {spec.name!r} was not ready within {UP_SECONDS_MAX:.0f} s; last step: {last}")


def _host_link_exists() -> bool:
    try:
        socket.if_nametoindex(addresses.HOST_LINK)
    except OSError:
        return False
    return True


def _keep_logs(directory: Path) -> Path:
    """The logs of a fleet that did not come up, where its removal does not reach: the last such fleet's only."""
    kept = state_directory() / "last-failure"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700, parents=True)
    for name in ("supervisor.log", "status.json", "logs"):
        with contextlib.suppress(OSError):
            (directory / name).rename(kept / name)
    return kept


def _why(directory: Path, status: dict[str, Any]) -> str:
    if status.get("phase") == "failed":
        return str(status["detail"])
    try:
        lines = (directory / "supervisor.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        return "it was taken down meanwhile"
    return "its supervisor ended" + ("; its last words: " + " | ".join(lines) if lines else "")


def _fleet(spec: FleetSpec, directory: Path) -> Fleet:
    clusters = tuple(Cluster(member, member.name, directory / "kubeconfig" / member.name) for member in spec.clusters)
    return Fleet(spec, clusters, directory)


def _status(directory: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads((directory / "status.json").read_text())
        return content
    return {}


def _spec_of(directory: Path) -> FleetSpec | None:
    with contextlib.suppress(EnvironmentUnfit):
        return _without_source(fleetfile.load(directory / "fleet.yaml"))
    return None


def _without_source(spec: FleetSpec) -> FleetSpec:
    return replace(spec, source=Path(), disruption=False)  # neither makes it another fleet


def _clear(directory: Path) -> None:
    """End the fleet's processes and remove its directory. Its network and mounts go with its first process."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    struck: set[int] = set()
    # One that is ending shows no environment any more, but has ended only when all that it started have.
    while pids := processes_of(directory) or [pid for pid in struck if _runs(pid)]:
        for pid in processes_of(directory):
            struck.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise EnvironmentUnfit(f"processes {pids} of {directory} did not end within {GONE_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
    while (struck or directory.exists()) and _host_link_exists() and not occupied.living_fleets():
        # The kernel takes a namespace apart in the background; its links are the last thing to go, also those of a
        # fleet that died by itself a moment ago. With a living fleet the link is that one's.
        if time.monotonic() > deadline:
            raise EnvironmentUnfit(f"link {addresses.HOST_LINK} is still there; see `ip link`")
        time.sleep(POLL_SECONDS)
    while directory.exists():
        with contextlib.suppress(FileNotFoundError):  # an `up` that ends just now clears away too
            shutil.rmtree(directory)


def _runs(pid: int) -> bool:
    """Whether the process has not ended; one that only waits to be collected has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@contextlib.contextmanager
def _lock(progress: Progress) -> Iterator[bool]:
    """One `up` at a time with this state directory; a second one waits for the first, and is told that it did."""
    state = state_directory()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(state / "lock", "w") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another `meshproof up` to end")
            fcntl.flock(file, fcntl.LOCK_EX)
            waited = True
        yield waited
