"""Image layers and archives, made by us: a folder becomes a layer, layers become images, images one archive.

A layer is a plain tar whose bytes depend on the folder's content alone (sorted, owned by root, one fixed time), so the
same content has the same digest everywhere. An archive is an OCI layout that is also what `docker load` reads, old
Engines included, and what `ctr images import` reads.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import golang

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar file and its sha256 (hex), which is diff id and blob digest in one, because nothing is compressed."""

    file: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """What runs: layers, lowest first, and how. `names` are full references."""

    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def pack(root: Path, into: Path) -> Layer:
    """The layer that has everything below `root`."""
    with tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(_below(root)):
            entry = archive.gettarinfo(str(path), str(path.relative_to(root)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            if entry.isreg():
                with open(path, "rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return read(into)


def read(file: Path) -> Layer:
    """A layer that was packed before."""
    with open(file, "rb") as content:
        return Layer(file, hashlib.file_digest(content, "sha256").hexdigest())


def write(images: Sequence[Image], into: Path) -> None:
    """One archive of all `images`; a layer that several have is in it once."""
    layers = {layer.sha256: layer for image in images for layer in image.layers}
    blobs: dict[str, bytes] = {}
    index, legacy = [], []
    for image in images:
        config = _json(_config(image))
        manifest = _json(_manifest(image, config))
        for blob in (config, manifest):
            blobs[_sha256(blob)] = blob
        index += [_descriptor(MANIFEST_TYPE, manifest, {"io.containerd.image.name": name}) for name in image.names]
        legacy.append(
            {
                "Config": _blob(_sha256(config)),
                "RepoTags": list(image.names),
                "Layers": [_blob(layer.sha256) for layer in image.layers],
            }
        )
    blobs_by_path = {_blob(digest): blob for digest, blob in blobs.items()}
    top = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index}),
        "manifest.json": _json(legacy),
    }
    with tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted({**blobs_by_path, **top}.items()):
            archive.addfile(_entry(path, len(content)), io.BytesIO(content))
        for digest, layer in sorted(layers.items()):
            with open(layer.file, "rb") as data:
                archive.addfile(_entry(_blob(digest), os.fstat(data.fileno()).st_size), data)


def _below(root: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            if not stat.S_ISSOCK(path.lstat().st_mode):
                yield path


def _config(image: Image) -> dict[str, Any]:
    run = {
        "Env": [PATH],
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Labels": dict(image.labels),
    }
    return {
        "created": CREATED,
        "architecture": golang.architecture(),
        "os": "linux",
        "config": {key: value for key, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}" for layer in image.layers]},
        "history": [{"created": CREATED, "created_by": "meshproof images build"} for _ in image.layers],
    }


def _manifest(image: Image, config: bytes) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config),
        "layers": [
            {"mediaType": LAYER_TYPE, "digest": f"sha256:{layer.sha256}", "size": layer.file.stat().st_size}
            for layer in image.layers
        ],
    }


def _descriptor(kind: str, content: bytes, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    described = {"mediaType": kind, "digest": f"sha256:{_sha256(content)}", "size": len(content)}
    return {**described, "annotations": dict(annotations)} if annotations else described


def _entry(path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
