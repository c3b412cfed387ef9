"""Helm: the one on PATH when it is recent enough, else one built here from its Go module, once, and cached.

What is built stands in `helmbuild/go.mod` and nowhere else. A build gets its version stamped in, and the Kubernetes
release its client libraries are for: without that stamp helm renders for Kubernetes 1.20, which Cilium's charts refuse.
The cached command lies under the hash of all that decides it, and arrives there in one rename, so it is whole or
absent; two builders at once cost time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.embedded import golang
from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.commands import CommandFailed, run
from meshproof.clusters.places import cache_directory

MINIMUM = (3, 18)
"""The oldest that the charts were rendered with by us (v3.18.0, and v3.22.0)."""
NAMESPACE, RELEASE_NAME = "kube-system", "cilium"
KUBERNETES = "1.36"
"""What `template` renders for, since it asks no cluster."""
TEMPLATE_SECONDS_MAX, VERSION_SECONDS_MAX = 120.0, 20.0

_MODULE = Path(__file__).with_name("helmbuild")
_PACKAGE = "helm.sh/helm/v3"


@dataclass(frozen=True, slots=True)
class Helm:
    """The command, the release it says it is (v3.22.0), and how it was found: PATH or cache."""

    command: Path
    release: str
    origin: str


def find(progress: Progress) -> Helm:
    """A helm that can be used, built if need be: some four minutes on two cores. Raises `EnvironmentUnfit`."""
    if found := shutil.which("helm"):
        release = _release(Path(found))
        if release.startswith("v3.") and tuple(map(int, release.removeprefix("v").split(".")[:2])) >= MINIMUM:
            return Helm(Path(found).absolute(), release, "PATH")
        needed = ".".join(map(str, MINIMUM))
        progress(f"{found} is passed over: it says {release or 'no version'}, needed is v{needed} or a later v3")
    command = _cached()
    if not _release(command):
        _build(command, progress)
    return Helm(command, _release(command), "cache")


def template_words(helm: Helm, chart: Chart, values: Sequence[Path]) -> list[str]:
    """The command that renders a chart without asking any cluster."""
    return [
        *[str(helm.command), "template", RELEASE_NAME, *chart.words(), f"--namespace={NAMESPACE}"],
        *[f"--kube-version={KUBERNETES}", *(f"--values={file}" for file in values)],
    ]


def template(helm: Helm, chart: Chart, values: Sequence[Path]) -> str:
    """The manifests of a chart. Raises `CommandFailed`, also for values that the chart's schema refuses."""
    return run(template_words(helm, chart, values), seconds=TEMPLATE_SECONDS_MAX)


def install_words(helm: str, chart: Chart, values: Sequence[Path], context: str, kubeconfig: Path | None) -> list[str]:
    """The command that installs a cluster, or repeats an installation. It does not wait: ready means traffic."""
    return [
        *[helm, "upgrade", "--install", RELEASE_NAME, *chart.words(), f"--namespace={NAMESPACE}"],
        *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []),
        *[f"--kube-context={context}", *(f"--values={file}" for file in values)],
    ]


def _release(command: Path) -> str:
    """The release a helm says it is; empty when it does not run or is no helm."""
    try:
        said = run([str(command), "version", "--template={{.Version}}"], seconds=VERSION_SECONDS_MAX).strip()
    except CommandFailed:
        return ""
    return said if re.fullmatch(r"v\d+\.\d+\.\d+\S*", said) else ""


def build_words(module: Path = _MODULE) -> list[str]:
    """The arguments of `go` that build helm, its stamps taken from go.mod."""
    text = (module / "go.mod").read_text(encoding="utf-8")
    version = re.search(rf"^\s*{re.escape(_PACKAGE)} (v\S+)", text, re.MULTILINE)
    kubernetes = re.search(r"^\s*k8s\.io/client-go v0\.(\d+)\.", text, re.MULTILINE)
    if not version or not kubernetes:
        raise EnvironmentUnfit(f"{module / 'go.mod'} names no release of helm or of k8s.io/client-go")
    stamps = {f"{_PACKAGE}/internal/version.version": version[1]}
    for place in ("chartutil", "lint/rules"):
        stamps |= {
            f"{_PACKAGE}/pkg/{place}.k8sVersion{part}": value
            for part, value in (("Major", "1"), ("Minor", kubernetes[1]))
        }
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])
    return ["build", "-trimpath", "-buildvcs=false", "-v", "-gcflags=all=-dwarf=false", "-ldflags", flags]


def _cached() -> Path:
    content = hashlib.sha256(repr((_go().release, golang.architecture(), build_words())).encode())
    for name in ("go.mod", "go.sum"):
        content.update((_MODULE / name).read_bytes())
    return cache_directory() / "helm" / content.hexdigest()[:20] / "helm"


def _go() -> golang.Go:
    language = re.search(r"^go (\d+)\.(\d+)", (_MODULE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert language, "go.mod names no go release"
    return golang.choose((int(language[1]), int(language[2])))


def _build(command: Path, progress: Progress) -> None:
    command.parent.mkdir(parents=True, exist_ok=True)
    words = build_words()
    with tempfile.TemporaryDirectory(prefix="building-", dir=command.parent, ignore_cleanup_errors=True) as work:
        fresh = Path(work) / "helm"
        try:
            go = _go().command or golang.install(cache_directory(), progress)
            progress("building helm from its Go module: some four minutes the first time on two cores")
            argv = [str(go), *words, "-o", str(fresh), f"{_PACKAGE}/cmd/helm"]
            golang.watch(argv, directory=_MODULE, environment=golang.environment(Path(work)), progress=progress)
        except golang.CommandFailed as failure:
            by_hand = shlex.join(["go", *words, "-o", "/dev/null", f"{_PACKAGE}/cmd/helm"])
            raise EnvironmentUnfit(
                f"helm could not be built: {failure}\nTo repeat it by hand: cd {shlex.quote(str(_MODULE))} && {by_hand}"
            ) from failure
        os.replace(fresh, command)
    if not _release(command):
        raise EnvironmentUnfit(f"helm was built into {command}, but it does not say its version")
