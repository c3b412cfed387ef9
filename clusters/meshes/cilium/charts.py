"""The chart that is installed: one on this machine, given as a directory or a .tgz, or the name helm knows it by.

A chart says its own version, and only a version of the lock is taken: values of one line are refused by another
(1.18 wants its peers as a list), and nobody has looked at what an unknown one makes of ours.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.meshes.cilium.lock import Lock, Release

REPOSITORY = "cilium/cilium"
"""What Cilium's own documents call the chart, after `helm repo add cilium` with the address they give."""
_BYTES_MAX = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Chart:
    """`path` is None for the chart that helm finds by name in a repository."""

    release: Release
    path: Path | None

    def words(self) -> list[str]:
        """The chart as arguments of a helm command."""
        return [str(self.path)] if self.path else [REPOSITORY, "--version", self.release.version]

    def read(self, name: str) -> str:
        """A file of a chart on this machine, such as values.yaml. Raises `EnvironmentUnfit` when it is not there."""
        assert self.path is not None, "a chart in a repository is not read"
        return _read(self.path, name)


def find(lock: Lock, path: Path | None, version: str | None = None) -> Chart:
    """The chart to use: the one at `path`, else the locked one of `version`, else the default's.

    Raises `EnvironmentUnfit` when the path holds no Cilium chart of the lock, or not of the version asked for.
    """
    if path is None:
        return Chart(lock.release(version) if version else lock.default, None)
    try:
        about: Any = yaml.safe_load(_read(path, "Chart.yaml"))
        name, said = str(about["name"]), str(about["version"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise EnvironmentUnfit(f"{path}: its Chart.yaml says no name and version ({error!r})") from None
    if name != "cilium":
        raise EnvironmentUnfit(f"{path} is the chart {name}, not cilium")
    release = lock.release(said)
    if said.removeprefix("v") != release.version:
        raise EnvironmentUnfit(f"{path} says version {said}; the lock has {release.version}")
    if version and lock.release(version) != release:
        raise EnvironmentUnfit(f"{path} is the chart of Cilium {said}, and {version} was asked for")
    return Chart(release, path.absolute())


def _read(chart: Path, name: str) -> str:
    try:
        if chart.is_dir():
            return (chart / name).read_text(encoding="utf-8")
        with tarfile.open(chart) as archive:
            member = archive.getmember(f"cilium/{name}")
            content = archive.extractfile(member)
            if content is None or member.size > _BYTES_MAX:
                raise EnvironmentUnfit(f"{chart}: {name} in it is no file of a sensible size")
            return content.read().decode("utf-8")
    except KeyError:
        raise EnvironmentUnfit(f"{chart} has no cilium/{name}, so it is no Cilium chart") from None
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise EnvironmentUnfit(f"{chart} cannot be read as a chart: {error}") from None
