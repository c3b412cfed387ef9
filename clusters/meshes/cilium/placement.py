"""Where images are taken from: the product's registry, a mirror of it, or a reference a person gives.

A mirror is HOST/PATH that has the product's repositories below it under the last part of their names, with the same
tags; the digest stays the lock's, so a mirror with other content is not run. `by_tag` leaves the digest out, for
nodes that got their images from an archive: an archive of one platform does not have the digest of the image index
that the chart names, and a node that is asked for it goes to the registry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.meshes.cilium.lock import Image, Release

_REFERENCE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Placed:
    """An image of the lock, and the reference a cluster or a pull is to use for it."""

    image: Image
    reference: str

    @property
    def moved(self) -> bool:
        """Whether the chart has to be told."""
        return self.reference != self.image.pinned


def place(
    release: Release, *, mirror: str = "", overrides: Mapping[str, str] | None = None, by_tag: bool = False
) -> tuple[Placed, ...]:
    """Every image of a release with its reference; an override wins over the mirror and is taken as it stands.

    Raises `EnvironmentUnfit` for an override of an image the release does not have, or what is no reference.
    """
    given, mirror = dict(overrides or {}), mirror.rstrip("/")
    known = [image.name for image in release.images]
    if unknown := sorted(set(given) - set(known)):
        raise EnvironmentUnfit(f"Cilium {release.version} has no image {unknown[0]!r}; it has {', '.join(known)}")
    for text in [*([mirror] if mirror else []), *given.values()]:
        if not _REFERENCE.fullmatch(text):
            raise EnvironmentUnfit(f"{text!r} is no image reference: write HOST/PATH, without a scheme")
    return tuple(Placed(image, given.get(image.name) or _reference(image, mirror, by_tag)) for image in release.images)


def pairs(words: Sequence[str], what: str) -> dict[str, str]:
    """NAME=VALUE words as a mapping. Raises `EnvironmentUnfit` for a word of another form, or a name given twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise EnvironmentUnfit(f"{what} {word!r} has no NAME=VALUE form")
        if name in found:
            raise EnvironmentUnfit(f"{what} {name} is given twice")
        found[name] = value
    return found


def _reference(image: Image, mirror: str, by_tag: bool) -> str:
    repository = f"{mirror}/{image.repository.rsplit('/', 1)[1]}" if mirror else image.repository
    return f"{repository}:{image.tag}" + ("" if by_tag else f"@{image.digest}")
