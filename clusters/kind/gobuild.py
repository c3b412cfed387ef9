"""What a kind fleet needs that is built from Go modules: kind itself, and the programs of a node.

Two modules beside this file, built as they are into one folder of the cache, under the hash of everything that decides
the result: `nodecall` (kubelet, kubeadm and kube-proxy in one binary, with the same versions as the control plane's
module, so that its build cache serves both) and `noderuntime` (containerd, its shim, ctr, CNI plugins and kind by their
module names, and three small programs of ours). The control plane's own binary comes from `embedded.binaries`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.embedded import binaries, golang
from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.places import cache_directory

NODECALL = Path(__file__).parent / "nodecall"
RUNTIME = Path(__file__).parent / "noderuntime"
NODE_NAMES = ("kubelet", "kubeadm", "kube-proxy")
OWN = ("./pause", "./modestrunc", "./nodeinit")


@dataclass(frozen=True, slots=True)
class Built:
    """A folder that has nodecall, containerd, containerd-shim-runc-v2, ctr, the CNI plugins, kind and our own three."""

    directory: Path
    kubernetes: str

    @property
    def kind(self) -> Path:
        return self.directory / "kind"


def digest() -> str:
    """Everything that decides what is built."""
    plan = binaries.recipe(NODECALL)
    content = hashlib.sha256(repr((plan.go.release, plan.architecture, plan.goflags, plan.arguments())).encode())
    for module in (NODECALL, RUNTIME):
        for file in sorted(path for path in module.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
            content.update(f"{file.relative_to(module)}:{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return content.hexdigest()[:20]


def find_built() -> Built | None:
    """What is in the cache already; never builds."""
    directory = _home() / digest()
    return Built(directory, binaries.recipe(NODECALL).kubernetes) if directory.is_dir() else None


def find(progress: Progress) -> Built:
    """What the cache has, built first if need be. Raises EnvironmentUnfit."""
    if found := find_built():
        return found
    _home().mkdir(parents=True, exist_ok=True)
    with open(_home() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find_built():
            return found
        with tempfile.TemporaryDirectory(prefix="building-", dir=_home(), ignore_cleanup_errors=True) as work:
            fresh = Path(work) / "fresh"
            fresh.mkdir()
            _build(fresh, Path(work) / "scratch", progress)
            fresh.rename(_home() / digest())
    built = find_built()
    assert built is not None
    return built


def _home() -> Path:
    return cache_directory() / "kind"


def _build(fresh: Path, scratch: Path, progress: Progress) -> None:
    scratch.mkdir()
    plan = binaries.recipe(NODECALL)
    began = time.monotonic()
    progress(
        f"building kind and the programs of a node, Kubernetes {plan.kubernetes}: about six minutes the first time"
    )
    try:
        go = str(plan.go.command or golang.install(cache_directory(), progress))
        lean = ["build", "-trimpath", "-buildvcs=false", "-v", "-gcflags=all=-dwarf=false", "-ldflags", "-s -w"]
        for module, arguments in (
            (NODECALL, [*plan.arguments(), "-o", str(fresh / "nodecall"), "."]),
            (RUNTIME, [*lean, "-o", f"{fresh}{os.sep}", *_tools(), *OWN]),
        ):
            environment = golang.environment(scratch)
            golang.watch([go, *arguments], directory=module, environment=environment, progress=progress)
    except golang.CommandFailed as failure:
        raise EnvironmentUnfit(f"kind and the programs of a node could not be built: {failure}") from failure
    for name in NODE_NAMES:
        (fresh / name).symlink_to("nodecall")
    shutil.rmtree(scratch, ignore_errors=True)
    progress(f"built in {time.monotonic() - began:.0f} s")


def _tools() -> list[str]:
    """The programs that go.mod names as tools: other people's, built as they are."""
    block = re.search(r"^tool \((.*?)^\)", (RUNTIME / "go.mod").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].split()
