"""Image layers and archives: the same content gives the same bytes, and every reader finds the same image."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.kind import layers
from meshproof.clusters.kind.layers import Image, Layer


def tree(root: Path) -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o755)
    (root / "usr/bin/alias").symlink_to("tool")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return layers.pack(tree(tmp_path / "root"), tmp_path / "layer.tar")


def test_the_same_content_gives_the_same_layer(layer: Layer, tmp_path: Path) -> None:
    """Neither when files were written nor in which order changes a layer."""
    other = tree(tmp_path / "other")
    os.utime(other / "usr/bin/tool", (1, 1))
    assert layers.pack(other, tmp_path / "other.tar").sha256 == layer.sha256


def test_other_content_gives_another_layer(layer: Layer, tmp_path: Path) -> None:
    """A mode is content too."""
    other = tree(tmp_path / "other")
    (other / "usr/bin/tool").chmod(0o700)
    assert layers.pack(other, tmp_path / "other.tar").sha256 != layer.sha256


def test_a_layer_belongs_to_root_and_keeps_modes_and_links(layer: Layer) -> None:
    """Who built it does not show; links and sticky bits do."""
    with tarfile.open(layer.file) as archive:
        entries = {entry.name: entry for entry in archive}
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "", 0)}
    assert entries["usr/bin/alias"].linkname == "tool"
    assert entries["tmp"].mode & 0o7777 == 0o1777


def blobs(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as content:
        files = {entry.name: content.extractfile(entry) for entry in content if entry.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.fixture
def archive(layer: Layer, tmp_path: Path) -> dict[str, bytes]:
    first = Image(("example.test/one:1",), (layer,), entrypoint=("/usr/bin/tool",))
    second = Image(("example.test/two:1", "example.test/two:2"), (layer,), command=("tool",))
    layers.write([first, second], tmp_path / "images.tar")
    return blobs(tmp_path / "images.tar")


def test_every_blob_is_what_its_name_says(archive: dict[str, bytes]) -> None:
    """Content addresses are true, and a shared layer is there once."""
    addressed = {name: content for name, content in archive.items() if name.startswith("blobs/")}
    assert addressed
    for name, content in addressed.items():
        assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]


def test_both_formats_describe_the_same_images(archive: dict[str, bytes]) -> None:
    """What `docker load` reads and what containerd reads have the same names, configurations and layers."""

    def blob(digest: str) -> Any:
        return json.loads(archive[f"blobs/sha256/{digest.removeprefix('sha256:')}"])

    index = json.loads(archive["index.json"])["manifests"]
    modern = {entry["annotations"]["io.containerd.image.name"]: blob(entry["digest"]) for entry in index}
    legacy = {name: entry for entry in json.loads(archive["manifest.json"]) for name in entry["RepoTags"]}
    assert modern.keys() == legacy.keys() == {"example.test/one:1", "example.test/two:1", "example.test/two:2"}
    for name, manifest in modern.items():
        assert legacy[name]["Config"] == f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}"
        assert legacy[name]["Layers"] == [
            f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}" for entry in manifest["layers"]
        ]
        config = blob(manifest["config"]["digest"])
        assert config["rootfs"]["diff_ids"] == [entry["digest"] for entry in manifest["layers"]]
