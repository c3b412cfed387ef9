"""Images without a registry: a name stands for one program of this host, seen in a file system made of the host's own.

An image is a directory that is laid over the host's `/` as an overlay: it covers everything but the programs and
libraries (only the folders in SHOWN of the host can be seen through it), so a container finds no home directory,
no key and no other file of the host.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SHOWN = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"})
EMPTY = {
    "tmp": 0o1777,
    "var": 0o755,
    "root": 0o700,
    "home": 0o755,
    "run": 0o755,
    "dev": 0o755,
    "proc": 0o555,
    "sys": 0o555,
}
COVERED_FILES = ("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-")
COVERED_DIRECTORIES = ("etc/ssh", "etc/ssl/private", "etc/kubernetes")


class UnknownImage(Exception):
    """There is no such image here; the message is what the pod's status says."""


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    program: str
    """The program on this host."""
    layer: Path
    """What is laid over the host's file system."""
    mounted: bool
    """Whether the program is bind-mounted at /<name>, because it lies where containers cannot see it."""

    @property
    def command(self) -> tuple[str, ...]:
        return (f"/{self.name}",) if self.mounted else (self.program,)

    @property
    def id(self) -> str:
        return f"meshproof://{self.name}"


def basename(reference: str) -> str:
    """The last part of an image's repository: registry.example/library/python:3.13@sha256:… is python."""
    last = reference.split("@", 1)[0].rsplit("/", 1)[-1]
    return last.split(":", 1)[0]


def resolve(reference: str, programs: Mapping[str, str], layers: Path) -> Image:
    """The image called `reference`. Raises UnknownImage."""
    name = basename(reference)
    program = programs.get(name)
    if program is None:
        known = ", ".join(sorted(programs))
        raise UnknownImage(f"image {reference!r} is not known here: the embedded fleet has {known}")
    if not os.access(program, os.X_OK):
        raise UnknownImage(f"image {reference!r}: its program is missing on this host")
    return Image(name, program, layers / name, mounted=not program.startswith("/usr/"))


def prepare(programs: Mapping[str, str], layers: Path) -> None:
    """Make the layer of every image afresh.

    Needs root, because covering is done with whiteouts and trusted attributes.
    """
    shutil.rmtree(layers, ignore_errors=True)
    for name, program in programs.items():
        layer = layers / name
        layer.mkdir(parents=True, mode=0o755)
        for folder, mode in EMPTY.items():
            _opaque(layer / folder, mode)
        _opaque(layer / "var" / "tmp", 0o1777)
        (layer / "var" / "run").symlink_to("../run")
        _cover(layer)
        for file in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):
            (layer / file).touch()  # so that the pod's own are mounted on a file, whatever links the host has there
        if program.startswith("/usr/"):
            links = layer / "usr" / "local" / "bin"
            links.mkdir(parents=True)
            for link in {name, os.path.basename(program)}:
                (links / link).symlink_to(program)
        else:
            (layer / name).unlink(missing_ok=True)
            (layer / name).touch(mode=0o755)


def _cover(layer: Path) -> None:
    """Hide what the host has beside its programs, and its secrets in /etc."""
    for entry in os.listdir("/"):
        if entry not in SHOWN and entry not in EMPTY:
            _whiteout(layer / entry)
    (layer / "etc").mkdir()
    for covered in COVERED_FILES:
        if os.path.lexists(f"/{covered}"):
            _whiteout(layer / covered)
    for folder in COVERED_DIRECTORIES:
        if os.path.isdir(f"/{folder}"):
            _opaque(layer / folder, 0o755)


def _opaque(directory: Path, mode: int) -> None:
    directory.mkdir(parents=True)
    directory.chmod(mode)
    os.setxattr(directory, "trusted.overlay.opaque", b"y")


def _whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR | 0o000, os.makedev(0, 0))
