"""Starting and keeping a fleet's processes, as its first process must: restart what dies, reap what is orphaned."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshproof.clusters.embedded import netns
from meshproof.clusters.embedded.forkserver import Forked, ForkServer

BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 30.0
"""A process that ran this long starts its back-off anew."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, where, and where its output goes."""

    name: str
    namespace: str | None
    """Network namespace, or None for the fabric's own."""
    argv: list[str]
    """A command, or, for a program of `forked`, a module of ours and its arguments."""
    log: Path
    environment: Mapping[str, str]
    forked: bool = False
    """Whether the fork server runs it."""


@dataclass(slots=True)
class _Kept:
    program: Program
    process: subprocess.Popen[bytes] | Forked | None = None
    started: float = 0.0
    failures: int = 0
    restarts: int = 0
    due: float | None = field(default=0.0)


class Keeper:
    """Runs programs until told otherwise. `on_exit(name, code, restarts)` is called for each death."""

    def __init__(self, on_exit: Callable[[str, int, int], None], fork_server: ForkServer | None = None) -> None:
        self._fork_server = fork_server
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._on_exit = on_exit

    def start(self, program: Program) -> None:
        """Run `program` from now on. Raises OSError when it cannot be started the first time."""
        kept = _Kept(program)
        with self._lock:
            self._spawn(kept)
            self._kept[program.name] = kept

    def tend(self) -> None:
        """Reap whatever ended and restart what is due: call it from the main loop, several times a second."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            self._reap(ended.si_pid)
        now = time.monotonic()
        with self._lock:
            for kept in self._kept.values():
                if kept.process is None and kept.due is not None and kept.due <= now:
                    kept.restarts += 1
                    self._respawn(kept)

    def _reap(self, pid: int) -> None:
        with self._lock:
            owner = next((kept for kept in self._kept.values() if kept.process and kept.process.pid == pid), None)
            if owner is None or owner.process is None:
                # A child that could not execute its program was reaped by Popen, between our look and this lock.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                return
            code = owner.process.wait()
            owner.process = None
            steady = time.monotonic() - owner.started > STEADY_SECONDS
            owner.failures = 0 if steady else owner.failures + 1
            self._postpone(owner)
        self._on_exit(owner.program.name, code, owner.restarts)

    def _respawn(self, kept: _Kept) -> None:
        """Nobody waits for a restart, so one that fails (no memory, no disk) is tried again, later and later."""
        try:
            self._spawn(kept)
        except OSError as error:
            print(f"{kept.program.name} cannot be started again: {error}", flush=True)
            kept.failures += 1
            self._postpone(kept)

    def _postpone(self, kept: _Kept) -> None:
        kept.due = time.monotonic() + BACKOFF_SECONDS[min(kept.failures, len(BACKOFF_SECONDS) - 1)]

    def _spawn(self, kept: _Kept) -> None:
        program = kept.program
        program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            kept.process = self._forked(program, descriptor) or _executed(program, descriptor)
        finally:
            os.close(descriptor)
        kept.started = time.monotonic()
        kept.due = None

    def _forked(self, program: Program, log: int) -> Forked | None:
        """The program as a fork; None when it is no module of ours, or there is no fork server (any more)."""
        if self._fork_server is None or not program.forked:
            return None
        try:
            return self._fork_server.fork(program.name, program.argv, program.namespace, log, program.environment)
        except OSError as error:
            print(f"{program.name} is not forked: {error}", flush=True)
            self._fork_server = None
            return None


def _executed(program: Program, log: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", *program.argv] if program.forked else list(program.argv)
    if program.namespace is not None:
        argv = ["nsenter", f"--net={netns.DIRECTORY / program.namespace}", "--", *argv]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(program.environment), cwd="/"
    )
