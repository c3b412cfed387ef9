"""The one certificate authority of a mesh: ours, made once, given to every cluster.

Helm signs a cluster's certificates anew at each render, with whatever authority it is given; without one it makes
an authority for each cluster, and no member trusts another. So we make it, and it outlives what the charts sign (1095
days at most by their defaults). Helm's certificates are not renewed by anyone: a mesh that should live longer is
installed again with the same authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from meshproof.clusters.embedded import pki
from meshproof.clusters.fleet import EnvironmentUnfit

VALID = timedelta(days=4 * 365)


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """Where the authority lies; `key` is readable by its owner alone."""

    certificate: Path
    key: Path


def keep(directory: Path, fleet: str) -> AuthorityFiles:
    """The authority in `directory`, made there (0700) if there is none: a second cluster has to get the same one.

    Raises `EnvironmentUnfit` when the directory is there and holds no whole one.
    """
    files = AuthorityFiles(directory / "ca.crt", directory / "ca.key")
    if directory.exists():
        if not (files.certificate.is_file() and files.key.is_file()):
            raise EnvironmentUnfit(f"{directory} is there and holds no ca.crt and ca.key; remove it, or put them there")
    else:
        pki.new_authority(directory, f"meshproof mesh {fleet}", VALID)
    return files
