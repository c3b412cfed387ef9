"""Images carried by hand: the docker commands that put a release's images into one file, and that file into nodes.

The file is of one platform, because an archive of several does not load everywhere (kind#3795), and images in it
have the product's own names and tags, whatever mirror they came from. So nodes that got it are given values `by_tag`.
What is saved is pulled by digest and looked at again before it is named; what is loaded is asked for afterwards, since
loading may succeed and leave nothing (kind#2394). Not run by us against a registry: none was in reach.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.meshes.cilium.commands import CommandFailed, run
from meshproof.clusters.meshes.cilium.placement import Placed

PULL_SECONDS_MAX, SAVE_SECONDS_MAX, LOAD_SECONDS_MAX, ASK_SECONDS_MAX = 900.0, 900.0, 600.0, 60.0
_CTR = ("ctr", "--namespace=k8s.io", "images")


def source(placed: Placed) -> str:
    """The reference as docker is given it: where there is a digest the tag is left out, since both are ambiguous."""
    name, at, digest = placed.reference.partition("@")
    above, slash, last = name.rpartition("/")
    return f"{above}{slash}{last.partition(':')[0]}@{digest}" if at else name


def pull_words(placed: Placed, platform: str) -> list[str]:
    return ["docker", "pull", "--quiet", f"--platform={platform}", source(placed)]


def digests_words(placed: Placed) -> list[str]:
    return ["docker", "image", "inspect", "--format={{json .RepoDigests}}", source(placed)]


def tag_words(placed: Placed) -> list[str]:
    return ["docker", "tag", source(placed), placed.image.tagged]


def save_words(images: Sequence[Placed], platform: str, archive: Path) -> list[str]:
    names = [placed.image.tagged for placed in images]
    return ["docker", "save", f"--platform={platform}", f"--output={archive}", *names]


def load_words(node: str) -> list[str]:
    """The archive comes on standard input."""
    return ["docker", "exec", "--interactive", node, *_CTR, "import", "--digests", "-"]


def held_words(node: str) -> list[str]:
    return ["docker", "exec", node, *_CTR, "list", "--quiet"]


def save(images: Sequence[Placed], platform: str, archive: Path, progress: Progress) -> None:
    """Pull every image, see that it is the locked one, and write them all into `archive`.

    An override without a digest cannot be checked against the lock, and is said to be unchecked. Raises
    `EnvironmentUnfit` when docker cannot do it, or an image is not the one of the lock.
    """
    if archive.exists():
        raise EnvironmentUnfit(f"{archive} is there already; remove it, or name another file")
    part = archive.with_name(f"{archive.name}.part")
    try:
        for placed in images:
            progress(f"pulling {placed.reference}")
            run(pull_words(placed, platform), seconds=PULL_SECONDS_MAX)
            _refuse_others(placed, run(digests_words(placed), seconds=ASK_SECONDS_MAX), progress)
            run(tag_words(placed), seconds=ASK_SECONDS_MAX)
        progress(f"writing {archive}")
        run(save_words(images, platform, part), seconds=SAVE_SECONDS_MAX)
        part.rename(archive)
    except CommandFailed as failure:
        raise EnvironmentUnfit(f"the images could not be saved: {failure}") from failure
    finally:
        part.unlink(missing_ok=True)


def load(images: Sequence[Placed], archive: Path, nodes: Sequence[str], progress: Progress) -> None:
    """Import `archive` into every node (a container that runs containerd), and see that each image is there.

    Raises `EnvironmentUnfit` when docker cannot do it, or a node lacks an image afterwards.
    """
    if not archive.is_file():
        raise EnvironmentUnfit(f"{archive} is no file; meshproof images save makes one")
    for node in nodes:
        progress(f"loading {archive} into {node}")
        try:
            run(load_words(node), seconds=LOAD_SECONDS_MAX, feed=archive)
            held = set(run(held_words(node), seconds=ASK_SECONDS_MAX).split())
        except CommandFailed as failure:
            raise EnvironmentUnfit(f"the images could not be loaded: {failure}") from failure
        if missing := [placed.image.tagged for placed in images if placed.image.tagged not in held]:
            raise EnvironmentUnfit(f"{node} took {archive} and does not hold {', '.join(missing)} now")


def _refuse_others(placed: Placed, answer: str, progress: Progress) -> None:
    wanted = placed.reference.partition("@")[2]
    if not wanted:
        progress(f"{placed.reference} names no digest, so it is not checked against the lock ({placed.image.digest})")
        return
    seen = [str(digest).partition("@")[2] for digest in json.loads(answer) or []]
    if wanted not in seen:
        raise EnvironmentUnfit(
            f"{placed.reference} was pulled, and docker holds {', '.join(seen) or 'no digest'} for it"
        )
