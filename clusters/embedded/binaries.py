"""The six binaries an embedded fleet runs: found, or built once and cached.

Looked for in this order: the directory $KUBEBUILDER_ASSETS, each directory of PATH, our cache; and when the cache has
none, the Go module `multicall/` is built into it. A directory is taken whole or not at all. Mixing was considered and
refused: a kubectl of another release beside our API server, or an API server of another minor beside our flags, gives a
version skew nobody asked for and no report would name. So a directory needs all six, and its Kubernetes components must
say the minor release this module is written for; what is passed over is said in one line.

A build lies under the hash of everything that decides it, and is complete or absent: it is made in a temporary
directory, renamed into place under a lock, and its marker is checked on every use. Standard library only, because
this runs before pip has installed anything: `python3 -m meshproof.clusters.embedded.binaries [--where]`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.embedded import golang
from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.places import cache_directory

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "kubectl")
_MULTICALL = Path(__file__).parent / "multicall"
_LEAN = "-gcflags=all=-dwarf=false"  # makes no debug information that -s -w would drop: an eighth less to compile
_MARKER = "complete.json"
_GIB = 2**30
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the components lie; `origin` says how they were found, `kubernetes` is their release, such as v1.36.3."""

    directory: Path
    origin: str
    kubernetes: str

    @property
    def etcd(self) -> Path:
        return self.directory / "etcd"

    @property
    def kube_apiserver(self) -> Path:
        return self.directory / "kube-apiserver"

    @property
    def kube_controller_manager(self) -> Path:
        return self.directory / "kube-controller-manager"

    @property
    def kube_scheduler(self) -> Path:
        return self.directory / "kube-scheduler"

    @property
    def coredns(self) -> Path:
        return self.directory / "coredns"

    @property
    def kubectl(self) -> Path:
        return self.directory / "kubectl"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a build gives: the module's files, the Go release, the architecture, the flags."""

    module: Path
    kubernetes: str
    go: golang.Go
    architecture: str
    goflags: str

    def arguments(self) -> list[str]:
        """The arguments of `go`. Without the version in -X, kubectl and clients fail to parse the server's version."""
        major, minor, _ = self.kubernetes.removeprefix("v").split(".", 2)
        version = {"gitVersion": self.kubernetes, "gitMajor": major, "gitMinor": minor}
        stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in version.items())
        return ["build", "-trimpath", "-buildvcs=false", "-v", _LEAN, "-ldflags", f"-s -w {stamps}"]

    def digest(self) -> str:
        content = hashlib.sha256()
        for file in sorted([*self.module.glob("*.go"), self.module / "go.mod", self.module / "go.sum"]):
            content.update(f"{file.name}:{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        content.update(repr((self.go.release, self.architecture, self.goflags, self.arguments())).encode())
        return content.hexdigest()[:20]


def recipe(module: Path = _MULTICALL) -> Recipe:
    """How the binaries are built here and now. The versions are go.mod's and stand nowhere else."""
    text = (module / "go.mod").read_text()
    kubernetes = re.search(r"^\s*k8s\.io/kubernetes (v\d+\.\d+\.\S+)", text, re.MULTILINE)
    language = re.search(r"^go (\d+)\.(\d+)", text, re.MULTILINE)
    if not kubernetes or not language:
        raise EnvironmentUnfit(f"{module / 'go.mod'} names no k8s.io/kubernetes release or no go release")
    go = golang.choose((int(language[1]), int(language[2])))
    return Recipe(module, kubernetes[1], go, golang.architecture(), os.environ.get("GOFLAGS", ""))


def find(progress: Progress) -> Binaries:
    """The binaries of this machine, built first if need be: seconds with a warm Go cache, minutes with a cold one.

    Raises `EnvironmentUnfit` when they can neither be found nor built.
    """
    plan = recipe()
    return _installed(plan.kubernetes, progress) or _cached(plan) or _build(plan, progress)


def find_built() -> Binaries | None:
    """The binaries if they are there already; never builds."""
    plan = recipe()
    return _installed(plan.kubernetes, lambda _: None) or _cached(plan)


def _installed(kubernetes: str, progress: Progress) -> Binaries | None:
    """A directory the user chose or has on PATH that holds a whole, matching set."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        directory = Path(assets).absolute()
        missing = [name for name in COMPONENTS if not os.access(directory / name, os.X_OK)]
        objection = f"it lacks {', '.join(missing)}" if missing else _skew(directory, kubernetes)
        if not objection:
            return Binaries(directory, "KUBEBUILDER_ASSETS", kubernetes)
        progress(f"KUBEBUILDER_ASSETS={assets} is passed over: {objection}")
    for directory in map(Path, os.get_exec_path()):
        if directory.is_absolute() and all(os.access(directory / name, os.X_OK) for name in COMPONENTS):
            if not (objection := _skew(directory, kubernetes)):
                return Binaries(directory, "PATH", kubernetes)
            progress(f"{directory} on PATH is passed over: {objection}")
    return None


def _skew(directory: Path, kubernetes: str) -> str:
    """Why the Kubernetes components of `directory` do not fit this release; empty when they do."""
    wanted = kubernetes.rsplit(".", 1)[0]
    for name in (component for component in COMPONENTS if component.startswith("kube")):
        question = ["version", "--client"] if name == "kubectl" else ["--version"]
        try:
            done = subprocess.run([directory / name, *question], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"its {name} does not run ({error})"
        said = re.search(r"v\d+\.\d+\.\S+", done.stdout)
        if done.returncode or not said:
            return f"its {name} does not say its version"
        if said[0].rsplit(".", 1)[0] != wanted:
            return f"its {name} is {said[0]}, and an embedded fleet is written for {wanted}"
    return ""


def _cached(plan: Recipe) -> Binaries | None:
    directory = _home() / plan.digest()
    return Binaries(directory, "cache", plan.kubernetes) if _whole(directory) else None


def _home() -> Path:
    return cache_directory() / "binaries"


def _whole(directory: Path) -> bool:
    """Whether a cached build is what its marker says: size always, content when it was written after the marker."""
    binary, marker = directory / "multicall", directory / _MARKER
    try:
        promised = json.loads(marker.read_text())
        seen = binary.stat()
        if seen.st_size != promised["size"] or not all(binary.samefile(directory / n) for n in COMPONENTS):
            return False
        return seen.st_mtime_ns <= marker.stat().st_mtime_ns or _sha256(binary) == promised["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(plan: Recipe, progress: Progress) -> Binaries:
    target = _home() / plan.digest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent, progress):
        if _whole(target):  # somebody else built it while we waited
            return Binaries(target, "cache", plan.kubernetes)
        for abandoned in target.parent.glob("building-*"):  # we hold the lock, so its builder is dead
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent, ignore_cleanup_errors=True) as work:
            fresh = _compile(plan, Path(work), progress)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    return Binaries(target, "cache", plan.kubernetes)


@contextmanager
def _alone(directory: Path, progress: Progress, patience_seconds: float = 1800) -> Iterator[None]:
    """One builder at a time; the kernel drops the lock of a dead one."""
    with open(directory / ".lock", "w") as lock:
        deadline, told = time.monotonic() + patience_seconds, 0.0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                if now > deadline:
                    raise EnvironmentUnfit(f"another build has held {directory} for {patience_seconds:.0f} s") from None
                if now - told >= 5:
                    progress(f"another build is running in {directory}; waiting for it")
                    told = now
                time.sleep(_POLL_SECONDS)
        yield


def _compile(plan: Recipe, work: Path, progress: Progress) -> Path:
    """Build into `work`; the directory to be renamed into place, marker and links included."""
    fresh, scratch = work / "fresh", work / "scratch"
    fresh.mkdir()
    scratch.mkdir()
    started = time.monotonic()
    binary = fresh / "multicall"
    arguments = [*plan.arguments(), "-o", str(binary), "."]
    try:
        go = plan.go.command or golang.install(cache_directory(), progress)
        cold = _check_disk(go, plan, work)
        progress(
            f"building the control plane, Kubernetes {plan.kubernetes}, with Go {'.'.join(map(str, plan.go.release))}: "
            + ("about 8 minutes the first time on 2 cores" if cold else "about 12 s when Go's build cache is warm")
        )
        golang.watch(
            [str(go), *arguments], directory=plan.module, environment=golang.environment(scratch), progress=progress
        )
    except golang.CommandFailed as failure:
        by_hand = shlex.join(["CGO_ENABLED=0", "GOTOOLCHAIN=local", "go", *plan.arguments(), "-o", "/dev/null", "."])
        raise EnvironmentUnfit(
            f"the control plane could not be built: {failure}\n"
            f"To repeat it by hand: cd {shlex.quote(str(plan.module))} && {by_hand}"
        ) from failure
    for name in COMPONENTS:
        (fresh / name).symlink_to("multicall")
    size = binary.stat().st_size
    (fresh / _MARKER).write_text(json.dumps({"size": size, "sha256": _sha256(binary)}) + "\n")
    progress(f"built in {time.monotonic() - started:.0f} s: {size / 2**20:.0f} MiB")
    return fresh


def _check_disk(go: Path, plan: Recipe, work: Path) -> bool:
    """Whether Go's module cache is cold. Raises `EnvironmentUnfit` when a file system is too small for the build."""
    modules, objects = map(Path, golang.variables(go, ("GOMODCACHE", "GOCACHE")))
    cold = not (modules / "cache/download/k8s.io/kubernetes/@v" / f"{plan.kubernetes}.zip").is_file()
    needs = {work: 1.0, **({modules: 1.5, objects: 3.5} if cold else {})}
    by_device: dict[int, list[Path]] = {}
    for place in needs:
        by_device.setdefault(_existing(place).stat().st_dev, []).append(place)
    for places in by_device.values():
        needed = sum(needs[place] for place in places)
        free = shutil.disk_usage(_existing(places[0])).free / _GIB
        if free < needed:
            raise EnvironmentUnfit(
                f"building the control plane needs {needed:.1f} GiB free for {', '.join(map(str, places))}, and there"
                f" are {free:.1f} GiB: free some, or point MESHPROOF_CACHE, GOMODCACHE or GOCACHE elsewhere"
            )
    return cold


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Find or build, and print the directory: 0, or 10 when this machine cannot. `--where` builds nothing."""
    parser = argparse.ArgumentParser(prog="python3 -m meshproof.clusters.embedded.binaries", description=find.__doc__)
    parser.add_argument("--where", action="store_true", help="only say where they are, or would be built")
    options = parser.parse_args(arguments)
    try:
        if options.where:
            plan = recipe()
            found = find_built()
            print(f"{found.directory} ({found.origin})" if found else f"{_home() / plan.digest()} (not built yet)")
            return 0
        found = find(lambda line: print(line, file=sys.stderr, flush=True))
        print(found.directory)
        return 0
    except EnvironmentUnfit as unfit:
        print(unfit, file=sys.stderr)
        return 10


if __name__ == "__main__":
    sys.exit(main())
