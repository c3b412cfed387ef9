"""The images of a kind fleet, made here from Debian packages and Go modules; no registry is asked for anything.

Five layers, each cached under the hash of what decides it: `pods` (a small Debian with Python), `mesh` (the reference
mesh's own files), `control` (the embedded control plane's binary), `node` (Debian as a machine needs it) and `programs`
(containerd, kubelet and what starts them). The node image has `node`, `programs` and, as archives that a node imports
when it boots, all the others; so one image in the Engine is all a fleet needs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.embedded import binaries
from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.kind import debian, gobuild, layers
from meshproof.clusters.kind.command import CommandFailed
from meshproof.clusters.kind.engine import Engine
from meshproof.clusters.places import cache_directory

REPOSITORY = "meshproof.local"
TRAFFIC = f"{REPOSITORY}/python:debian"
MESH = f"{REPOSITORY}/reference-mesh:1"
PAUSE = f"{REPOSITORY}/pause:1"
COREDNS = f"{REPOSITORY}/coredns:1"
NODE = "meshproof/kind-node"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD_TAG = "1"
POD_PACKAGES = ("base-files", "netbase", "dash", "coreutils", "python3", "libnftables1")
NODE_PACKAGES = (
    *("base-files", "netbase", "bash", "dash", "coreutils", "util-linux", "mount", "grep", "sed", "mawk", "findutils"),
    *(
        "procps",
        "hostname",
        "iproute2",
        "iptables",
        "nftables",
        "conntrack",
        "ethtool",
        "kmod",
        "ca-certificates",
        "runc",
    ),
)
RUNTIME_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "nodecall", "nodeinit", "modestrunc")
CNI_PROGRAMS = ("ptp", "host-local", "loopback", "portmap")
MULTICALL = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "coredns", "kubectl")
LOAD_SECONDS_MAX = 300.0
_NODEFILES = Path(__file__).parent / "nodefiles"
_PACKAGE = Path(__file__).parents[2]
_MESH_NEEDS = ("__init__.py", "fleet.py", "rest.py", "meshes/__init__.py")
_FORMAT = 1
"""Raised when the way layers are made changes without any of their ingredients changing."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What the layers are made of."""

    go: gobuild.Built
    control: binaries.Binaries


def reference() -> str:
    """The node image of this checkout, whether it is built or not."""
    return f"{NODE}:{_digest(_key('node'), _key('programs'), _key('pods'), _key('mesh'), _key('control'))}"


def there(engine: Engine) -> bool:
    """Whether the Engine has it."""
    try:
        engine.docker("image", "inspect", "--format={{.Id}}", reference())
    except CommandFailed:
        return False
    return True


def build(engine: Engine, progress: Progress) -> str:
    """Have the node image in the Engine, made first if need be; its reference. Raises EnvironmentUnfit."""
    if there(engine):
        return reference()
    began = time.monotonic()
    home = cache_directory() / "layers"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there(engine):
            try:
                _load(engine, home, progress)
            except CommandFailed as error:
                raise EnvironmentUnfit(f"the images could not be made: {error}") from error
    progress(f"image {reference()} is there after {time.monotonic() - began:.0f} s")
    return reference()


def _load(engine: Engine, home: Path, progress: Progress) -> None:
    made = Ingredients(gobuild.find(progress), binaries.find(progress))
    recipes: dict[str, Callable[[Path], None]] = {
        "pods": lambda root: _system(POD_PACKAGES, root, progress),
        "mesh": _mesh,
        "control": lambda root: _control(made, root),
        "node": lambda root: _system(NODE_PACKAGES, root, progress),
        "programs": lambda root: _programs(made, root),
    }
    packed = {name: _layer(name, home, recipe, progress) for name, recipe in recipes.items()}
    with tempfile.TemporaryDirectory(prefix="assembling-", dir=home) as work:
        archives = Path(work) / "root"
        folder = archives / "kind" / "images"
        for part in ("every", "control-plane"):
            (folder / part).mkdir(parents=True)
        pause = _layer("pause", home, lambda root: _copy(made.go.directory / "pause", root / "pause"), progress)
        layers.write(_pod_images(packed, pause), folder / "every" / "pods.tar")
        layers.write(_control_images(packed["control"], made.go.kubernetes), folder / "control-plane" / "control.tar")
        (archives / "kind" / "version").write_text(made.go.kubernetes)
        images = layers.pack(archives, Path(work) / "images.tar")
        node = layers.Image(
            (reference(),), (packed["node"], packed["programs"], images), entrypoint=("/usr/local/bin/nodeinit",)
        )
        progress("loading the node image into the Engine")
        layers.write([node], Path(work) / "node.tar")
        shutil.rmtree(archives)
        engine.docker("load", "--quiet", "--input", str(Path(work) / "node.tar"), seconds_max=LOAD_SECONDS_MAX)


def _pod_images(packed: dict[str, layers.Layer], pause: layers.Layer) -> list[layers.Image]:
    return [
        layers.Image((PAUSE,), (pause,), entrypoint=("/pause",)),
        layers.Image((TRAFFIC,), (packed["pods"],), command=("python3",)),
        layers.Image((MESH,), (packed["pods"], packed["mesh"]), entrypoint=("python3", "-m")),
    ]


def _control_images(control: layers.Layer, kubernetes: str) -> list[layers.Image]:
    return [
        *(layers.Image((f"{REPOSITORY}/{name}:{kubernetes}",), (control,), command=(name,)) for name in CONTROL_PLANE),
        layers.Image((f"{REPOSITORY}/etcd:{ETCD_TAG}",), (control,), command=("etcd",)),
        layers.Image((COREDNS,), (control,), entrypoint=("coredns",)),
    ]


def _layer(name: str, home: Path, recipe: Callable[[Path], None], progress: Progress) -> layers.Layer:
    """From the cache, else made; a file under its final name is complete."""
    file = home / f"{name}-{_key(name)}.tar"
    if file.exists():
        return layers.read(file)
    progress(f"making layer {name}")
    with tempfile.TemporaryDirectory(prefix="making-", dir=home) as work:
        root = Path(work) / "root"
        root.mkdir()
        recipe(root)
        layers.pack(root, Path(work) / "layer.tar")
        (Path(work) / "layer.tar").rename(file)
    return layers.read(file)


def _system(packages: tuple[str, ...], root: Path, progress: Progress) -> None:
    debian.unpack(debian.fetch(packages, root.parent / "packages", progress, beside=False), root)
    debian.complete(root)
    debian.slim(root)


def _control(made: Ingredients, root: Path) -> None:
    binary = (made.control.directory / "kube-apiserver").resolve()
    _links(binary, "controlplane", MULTICALL, root)


def _programs(made: Ingredients, root: Path) -> None:
    folder = root / "usr/local/bin"
    for name in RUNTIME_PROGRAMS:
        _copy(made.go.directory / name, folder / name)
    for name in gobuild.NODE_NAMES:
        (folder / name).symlink_to("nodecall")
    _links((made.control.directory / "kubectl").resolve(), "controlplane", ("kubectl",), root)
    for name in CNI_PROGRAMS:
        _copy(made.go.directory / name, root / "opt/cni/bin" / name)
    for source, target in (
        ("containerd.toml", "etc/containerd/config.toml"),
        ("default-storage.yaml", "kind/manifests/default-storage.yaml"),
    ):
        _copy(_NODEFILES / source, root / target, mode=0o644)


def _mesh(root: Path) -> None:
    for name, file in _mesh_files().items():
        _copy(file, root / "opt/meshproof" / name, mode=0o644)


def _mesh_files() -> dict[str, Path]:
    """What the mesh's processes import, by its place below their PYTHONPATH; nothing that brings a fleet up.

    urllib3 is the one this process has: Debian's own always trusts the system's certificates too.
    """
    import urllib3

    clusters = _PACKAGE / "clusters"
    own = [_PACKAGE / "__init__.py", *(clusters / name for name in _MESH_NEEDS)]
    own += (clusters / "meshes" / "reference").rglob("*.py")
    library = Path(urllib3.__file__).parent
    files = {f"meshproof/{file.relative_to(_PACKAGE)}": file for file in own}
    files |= {f"urllib3/{file.relative_to(library)}": file for file in library.rglob("*.py")}
    return dict(sorted((name, file) for name, file in files.items() if "__pycache__" not in name))


def _links(binary: Path, name: str, names: tuple[str, ...], root: Path) -> None:
    folder = root / "usr/local/bin"
    _copy(binary, folder / name)
    for link in names:
        (folder / link).symlink_to(name)


def _copy(source: Path, target: Path, mode: int = 0o755) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _key(name: str) -> str:
    """What decides a layer."""
    go = gobuild.digest()
    own = {
        "pods": lambda: _digest(*POD_PACKAGES),
        "mesh": lambda: _digest(*(f"{name}:{_hash(file)}" for name, file in _mesh_files().items())),
        "control": lambda: _digest(binaries.recipe().digest()),
        "node": lambda: _digest(*NODE_PACKAGES),
        "programs": lambda: _digest(go, binaries.recipe().digest(), *(_hash(f) for f in sorted(_NODEFILES.iterdir()))),
        "pause": lambda: _digest(go),
    }
    return own[name]()


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).hexdigest()[:16]
