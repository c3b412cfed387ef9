"""The Docker Engine that carries kind fleets: the user's own when one answers, else one of ours from Debian's packages.

Ours is unpacked into the cache, never installed, and changes nothing of the machine that outlives it: it runs in PID
and mount namespaces of its own (`kill -9` of any of it ends every container in an instant), has its own socket, state
and cgroup, sets no firewall rule, no forwarding and no default bridge, and reaches containers through user-defined
networks alone. What stays in the cache is the engine's files and its loaded images. Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.kind import debian, gobuild
from meshproof.clusters.kind.command import CommandFailed, run, succeeds
from meshproof.clusters.places import cache_directory

MARK = "MESHPROOF_ENGINE_DIR"
PACKAGES = ("docker.io", "iptables")
CGROUPS = Path("/sys/fs/cgroup")
LIBRARIES = "usr/lib/x86_64-linux-gnu:usr/lib/aarch64-linux-gnu"
ANSWER_SECONDS_MAX = 20.0
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1
FLEET_WEIGHT = 4
_INSIDE = 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"'


@dataclass(frozen=True, slots=True)
class Engine:
    """How to reach it; `host` is empty where Docker's own rules find it (DOCKER_HOST, context, default socket)."""

    host: str
    path: str
    """PATH with a docker command in it."""
    ours: bool

    def environment(self) -> Mapping[str, str]:
        return {"PATH": self.path, **({"DOCKER_HOST": self.host} if self.host else {})}

    def docker(self, *arguments: str, seconds_max: float = ANSWER_SECONDS_MAX, stdin: bytes = b"") -> str:
        """One docker command. Raises CommandFailed."""
        return run(["docker", *arguments], seconds_max=seconds_max, stdin=stdin, environment=self.environment())


def directory() -> Path:
    """Where our own engine keeps its socket, log and state: one per cache, which is where its images are."""
    return _home() / "running"


def cgroup() -> str:
    """The group that all containers of our engine are in; another cache's engine has another."""
    return f"meshproof-kind-{hashlib.sha256(os.fsencode(_home())).hexdigest()[:8]}"


def _home() -> Path:
    return cache_directory() / "engine"


def running() -> Engine | None:
    """An engine that answers: the user's, else ours. Starts nothing."""
    for engine in (_users(), _own(directory())):
        if engine is not None and succeeds(
            ["docker", "version", "--format={{.Server.Version}}"],
            seconds_max=ANSWER_SECONDS_MAX,
            environment=engine.environment(),
        ):
            return engine
    return None


def obtain(progress: Progress) -> Engine:
    """An engine that answers, ours started if need be. Raises EnvironmentUnfit."""
    if found := running():
        return found
    with _lock():
        return running() or _start(progress)


def stop(progress: Progress) -> None:
    """End our own engine and every container it runs, however it was left. Idempotent; the user's is never touched."""
    if not directory().exists() and not processes():
        return
    with _lock():
        progress("stopping our Docker Engine")
        until = time.monotonic() + STOP_SECONDS_MAX
        while pids := processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                raise EnvironmentUnfit(f"processes {pids} of our Docker Engine did not end")
            time.sleep(POLL_SECONDS)
        _remove_cgroups(until)
        shutil.rmtree(directory(), ignore_errors=True)


def had_fleets() -> bool:
    """Whether an Engine of ours was left behind, with or without its processes."""
    return directory().exists()


def remove_link(name: str) -> None:
    """A network's bridge on the machine outlives an Engine that was killed."""
    if (Path("/sys/class/net") / name / "bridge").exists():
        run(["ip", "link", "delete", name], seconds_max=ANSWER_SECONDS_MAX)


def processes() -> list[int]:
    """Pids of our engine's own processes; those of its containers die with them."""
    mark = os.fsencode(f"{MARK}={directory()}")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _users() -> Engine | None:
    return Engine("", os.environ["PATH"], ours=False) if shutil.which("docker") else None


def _own(place: Path) -> Engine | None:
    socket = place / "docker.sock"
    return Engine(f"unix://{socket}", _path(_files()), ours=True) if socket.exists() else None


def _files() -> Path:
    return _home() / "files"


def _path(files: Path) -> str:
    return os.pathsep.join([os.environ["PATH"], *(str(files / folder) for folder in ("usr/bin", "usr/sbin"))])


def _start(progress: Progress) -> Engine:
    if os.geteuid() != 0:
        raise EnvironmentUnfit(
            "no Docker Engine answers, and only root can start one: start Docker, or run this as root"
        )
    files, place = unpacked(progress), directory()
    runtime = gobuild.find(progress).directory / "modestrunc"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    progress("starting a Docker Engine of our own")
    (place / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(place / "key.json")}))
    _weigh()
    _spawn(files, place, runtime)
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until:
        engine = _own(place)
        if engine and succeeds(["docker", "info"], seconds_max=ANSWER_SECONDS_MAX, environment=engine.environment()):
            return engine
        if not processes():
            break
        time.sleep(POLL_SECONDS)
    words = " | ".join((place / "engine.log").read_text(errors="replace").splitlines()[-5:])
    raise EnvironmentUnfit(f"our Docker Engine did not start within {START_SECONDS_MAX:.0f} s; its last words: {words}")


def _weigh() -> None:
    """All containers together are one group, which by itself counts as one thread of the machine's others does."""
    for root in [file.parent for file in CGROUPS.glob("*/cpu.shares")]:
        (root / cgroup()).mkdir(exist_ok=True)
        (root / cgroup() / "cpu.shares").write_text(str(1024 * FLEET_WEIGHT))
    if (CGROUPS / "cgroup.controllers").exists():
        (CGROUPS / cgroup()).mkdir(exist_ok=True)
        if (weight := CGROUPS / cgroup() / "cpu.weight").exists():
            weight.write_text(str(100 * FLEET_WEIGHT))


def _spawn(files: Path, place: Path, runtime: Path) -> None:
    proxy = next((str(p) for p in (files / "usr/bin/docker-proxy", files / "usr/sbin/docker-proxy") if p.exists()), "")
    tini = next(str(p) for p in (files / "usr/bin/tini-static", files / "usr/bin/tini") if p.exists())
    dockerd = [
        *(str(files / "usr/sbin/dockerd"), f"--host=unix://{place / 'docker.sock'}", "--group="),
        *(f"--data-root={_home() / 'data'}", f"--exec-root={place / 'run'}"),
        *(f"--pidfile={place / 'docker.pid'}", f"--config-file={place / 'daemon.json'}"),
        *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        *(f"--add-runtime=modest={runtime}", "--default-runtime=modest", f"--cgroup-parent=/{cgroup()}"),
        *("--storage-driver=overlay2", "--oom-score-adjust=0", f"--userland-proxy-path={proxy}"),
    ]
    environment = {
        "PATH": os.pathsep.join([*(str(files / f) for f in ("usr/sbin", "usr/bin")), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(str(files / f) for f in LIBRARIES.split(":")),
        "XTABLES_LIBDIR": os.pathsep.join(str(files / f / "xtables") for f in LIBRARIES.split(":")),
        "HOME": str(place),
        MARK: str(place),
    }
    log = os.open(place / "engine.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.run(
            [
                *("setsid", "--fork", "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc"),
                *("--propagation", "private", "--", "sh", "-c", _INSIDE, "engine", tini, "--", *dockerd),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            check=True,
            timeout=ANSWER_SECONDS_MAX,
        )
    finally:
        os.close(log)


def unpacked(progress: Progress) -> Path:
    """The engine's files in the cache, from Debian's packages, made once."""
    files = _files()
    if (files / "usr/sbin/dockerd").exists():
        return files
    progress(f"no Docker Engine answers: unpacking Debian's package {PACKAGES[0]} into {files.parent}")
    files.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=files.parent) as work:
        packages = debian.fetch(PACKAGES, Path(work) / "packages", progress, beside=True)
        fresh = Path(work) / "fresh"
        try:
            debian.unpack(packages, fresh)
            debian.alternatives(fresh)
        except CommandFailed as error:
            raise EnvironmentUnfit(f"Debian's packages cannot be unpacked: {error}") from error
        shutil.rmtree(files, ignore_errors=True)
        fresh.rename(files)
    return files


def _remove_cgroups(until: float) -> None:
    """The kernel lets go of a dead container's groups by and by."""
    own = cgroup()
    while roots := [root for root in (*CGROUPS.glob(f"*/{own}"), CGROUPS / own) if root.is_dir()]:
        for root in roots:
            for folder, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        if time.monotonic() > until:
            raise EnvironmentUnfit(f"cgroup {roots[0]} cannot be removed: see cgroup.procs below it")
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    _home().mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(_home() / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
