"""Debian packages without installing them: apt says what belongs together, and the files are unpacked where we want.

Nothing of the machine changes: no package is configured, no service started, no maintainer script run. Two uses:
a file system that owns nothing yet (`beside=False`: everything down to libc), and programs that use this machine's
own libraries (`beside=True`: only what the machine lacks). Packages and their versions are those of the machine's
own sources.list, so a machine that can install packages can build images.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.kind.command import CommandFailed, run

DOWNLOAD_SECONDS_MAX = 600.0
UPDATE_SECONDS_MAX = 300.0
UNPACK_SECONDS_MAX = 120.0
USR = ("bin", "sbin", "lib", "lib64")
"""Folders of / that are links into /usr, as everywhere since Debian 12."""


def fetch(names: Sequence[str], into: Path, progress: Progress, *, beside: bool) -> list[Path]:
    """Package files for `names` and all they depend on, in `into`, which is this call's alone.

    Raises EnvironmentUnfit when apt is not there or has no such package.
    """
    if not shutil.which("apt-get"):
        raise EnvironmentUnfit(
            "no apt-get here: images are made from Debian packages, so build them on Debian 12 or newer"
        )
    try:
        return _download(names, into, beside=beside)
    except CommandFailed:
        progress("package lists are missing or old: apt-get update")
    try:
        run(["apt-get", "update", "-qq"], seconds_max=UPDATE_SECONDS_MAX)
        return _download(names, into, beside=beside)
    except CommandFailed as error:
        raise EnvironmentUnfit(f"Debian packages cannot be had: {error}") from error


def _download(names: Sequence[str], into: Path, *, beside: bool) -> list[Path]:
    (into / "partial").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=into.parent) as work:
        status = Path(work) / "status"
        status.touch()
        options = {"Dir::Cache::archives": str(into), "Debug::NoLocking": "1", "APT::Sandbox::User": "root"}
        if not beside:
            options["Dir::State::status"] = str(status)
        run(
            [
                *("apt-get", "install", "--yes", "-qq", "--download-only", "--no-install-recommends", "--reinstall"),
                *(f"--option={key}={value}" for key, value in options.items()),
                *names,
            ],
            seconds_max=DOWNLOAD_SECONDS_MAX,
            environment={"DEBIAN_FRONTEND": "noninteractive"},
        )
    return sorted(into.glob("*.deb"))


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Lay the packages' files out below `root`, merged into /usr. Raises CommandFailed."""
    for folder in USR:
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        if not (root / folder).is_symlink():
            (root / folder).symlink_to(f"usr/{folder}")
    for package in packages:
        with tempfile.NamedTemporaryFile(dir=root.parent, suffix=".tar") as archive:
            run(["dpkg-deb", "--fsys-tarfile", str(package)], seconds_max=UNPACK_SECONDS_MAX, into=Path(archive.name))
            run(
                ["tar", "-x", "--keep-directory-symlink", "-f", archive.name, "-C", str(root)],
                seconds_max=UNPACK_SECONDS_MAX,
            )


def complete(root: Path) -> None:
    """What maintainer scripts would have made: a shell, users, the linker's cache, names chosen among alternatives."""
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    alternatives(root)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    )
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    for folder, mode in (
        ("tmp", 0o1777),
        ("run", 0o755),
        ("root", 0o700),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
    ):
        (root / folder).mkdir(exist_ok=True)
        (root / folder).chmod(mode)
    (root / "var").mkdir(exist_ok=True)
    if not os.path.lexists(root / "var/run"):
        (root / "var/run").symlink_to("/run")
    run(
        ["ldconfig", "-r", str(root)],
        seconds_max=UNPACK_SECONDS_MAX,
        environment={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )


def alternatives(root: Path) -> None:
    """The names that update-alternatives would give to one of several programs."""
    for name, chosen in (("awk", "mawk"), ("iptables", "iptables-nft"), ("iptables-save", "iptables-nft-save")):
        for folder in ("usr/bin", "usr/sbin"):
            if (root / folder / chosen).exists() and not os.path.lexists(root / folder / name):
                (root / folder / name).symlink_to(chosen)


def slim(root: Path) -> None:
    """Documentation and the like: a fifth of the bytes, read by nobody in a container."""
    for folder in ("doc", "man", "info", "locale", "lintian", "bug", "perl5"):
        shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
