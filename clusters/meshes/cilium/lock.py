"""Which Cilium releases we install, and the images each of them runs: `lock.yaml`, checked against its schema.

An image is known by a short name, by where the chart's values set it, and by repository, tag and digest. A person may
say `1.20` for the release of that line; anything that is not in the lock is refused, since nobody looked at its chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters import datafiles
from meshproof.clusters.datafiles import DataDamaged
from meshproof.clusters.fleet import EnvironmentUnfit

LOCK = Path(__file__).with_name("lock.yaml")
_SCHEMA = Path(__file__).with_name("lock.schema.json")


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a release; `value` is the dotted place of its settings in the chart's values."""

    name: str
    value: str
    repository: str
    tag: str
    digest: str

    @property
    def tagged(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def pinned(self) -> str:
        """As the chart renders it."""
        return f"{self.tagged}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    images: tuple[Image, ...]

    @property
    def line(self) -> tuple[int, int]:
        """(1, 20) for 1.20.0."""
        major, minor, _ = map(int, self.version.split("."))
        return major, minor


@dataclass(frozen=True, slots=True)
class Lock:
    """Releases, oldest line first, one a line; `default` is what is installed when nobody says otherwise."""

    default: Release
    releases: tuple[Release, ...]

    def release(self, version: str) -> Release:
        """The release of that version (1.20.0) or line (1.20). Raises `EnvironmentUnfit` for any other."""
        for release in self.releases:
            if version.removeprefix("v") in (release.version, "{}.{}".format(*release.line)):
                return release
        known = ", ".join(release.version for release in self.releases)
        raise EnvironmentUnfit(
            f"Cilium {version} is not in meshproof's lock, so its chart was never checked; use {known}"
        )


def lock(path: Path = LOCK) -> Lock:
    """The lock file's content. Raises `DataDamaged` when it is not in order."""
    document = datafiles.read(path, _SCHEMA)
    releases = tuple(
        Release(release["version"], tuple(Image(**image) for image in release["images"]))
        for release in document["releases"]
    )
    for release in releases:
        _refuse_twins(path, [image.name for image in release.images])
        _refuse_twins(path, [image.value for image in release.images])
    lines = [release.line for release in releases]
    if lines != sorted(set(lines)):
        raise DataDamaged(f"{path.name}: releases must be one for each line, oldest first")
    for release in releases:
        if release.version == document["default"]:
            return Lock(release, releases)
    raise DataDamaged(f"{path.name}: the default {document['default']} is none of its releases")


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise DataDamaged(f"{path.name}: an image is given twice among {', '.join(names)}")
