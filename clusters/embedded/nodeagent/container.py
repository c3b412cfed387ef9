"""One run of one container: how it is started, entered, signalled and stopped.

A container that is restarted is a new `Run` on a new, empty overlay. The process this agent holds is a shell
whose only child is process 1 of the container; it ends when its child ends, with its code or 128 and the signal,
and either dies with the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters import embedded
from meshproof.clusters.embedded import netns
from meshproof.clusters.embedded.nodeagent.identity import CAPABILITIES, CannotStart, Identity
from meshproof.clusters.embedded.nodeagent.images import Image
from meshproof.clusters.embedded.nodeagent.processes import (
    DIES_WITH_AGENT,
    NSENTER,
    SETPRIV,
    UNSHARE,
    Command,
    Processes,
)

RUN_AND_WAIT = '"$@" & exec >/dev/null 2>&1; wait $!'
"""Process 1 is this shell's child: `unshare --fork` would report a killed child as exit code 1.

The shell gives up the log after the fork, so that its own "Killed" is not taken for the program's words.
"""
LAUNCH = Path(embedded.__path__[0], "nodeagent", "launch.py")


@dataclass(frozen=True, slots=True)
class Mount:
    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one run needs to know, worked out before it starts."""

    image: Image
    identity: Identity
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    hostname: str
    network: str
    """The pod's network namespace."""
    mounts: tuple[Mount, ...]
    scratch: Path
    """A directory of this run alone, on the scratch tmpfs."""


def launch_spec(plan: Plan) -> dict[str, Any]:
    """What `launch.py` reads."""
    mounts = list(plan.mounts)
    if plan.image.mounted:
        mounts.insert(0, Mount(Path(plan.image.program).resolve(), f"/{plan.image.name}", True))
    return {
        "root": str(plan.scratch / "root"),
        "layer": str(plan.image.layer),
        "upper": str(plan.scratch / "upper"),
        "work": str(plan.scratch / "work"),
        "readonly": plan.identity.read_only,
        "hostname": plan.hostname,
        "mounts": [
            {"source": str(mount.source), "target": mount.target, "readonly": mount.read_only}
            for mount in sorted(mounts, key=lambda mount: mount.target.count("/"))
        ],
        "argv": list(plan.argv),
        "env": dict(plan.environment),
        "cwd": plan.cwd,
        "uid": plan.identity.uid,
        "gid": plan.identity.gid,
        "groups": list(plan.identity.groups),
        "capabilities": [CAPABILITIES[name] for name in plan.identity.capabilities],
        "no_new_privileges": plan.identity.no_new_privileges,
    }


class Run:
    """A running (or ended) container process."""

    def __init__(self, processes: Processes, plan: Plan, process: subprocess.Popen[bytes], pid: int) -> None:
        self.plan = plan
        self.pid = pid
        """Process 1 of the container, as the agent sees it."""
        self.gone = threading.Event()
        self._processes = processes
        self._process = process
        self._deadline = float("inf")
        self._changed = threading.Condition()

    def signal(self, number: int) -> None:
        """Signal process 1; nothing happens when it is gone."""
        if not self.gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL for every process of the container (the kernel does it when process 1 goes)."""
        self.signal(signal.SIGKILL)

    def enter(self, command: Sequence[str], terminal: bool = False) -> list[str]:
        """The argv that runs `command` in the container's namespaces as the container's user."""
        who = self.plan.identity
        kept = ",".join(["-all", *(f"+{name.lower()}" for name in who.capabilities)])
        groups = ["--groups", ",".join(map(str, who.groups))] if who.groups else ["--clear-groups"]
        return [
            *DIES_WITH_AGENT,
            *(NSENTER, "-t", str(self.pid), "-m", "-u", "-i", "-p", "-n", "-r", "-w", "--"),
            *(SETPRIV, "--pdeathsig", "KILL", "--reuid", str(who.uid), "--regid", str(who.gid), *groups),
            *("--inh-caps=-all", f"--bounding-set={kept}"),
            *(["--no-new-privs"] if who.no_new_privileges else []),
            *(["/usr/bin/setsid", "--ctty", "--wait"] if terminal else []),
            "--",
            *command,
        ]

    def execute(self, command: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """Run `command` inside; (return code, last output), None when it took longer. For probes and hooks."""
        with _temporary_file() as output:
            process = self._processes.start(
                Command(self.enter(command), self.plan.environment, stdout=output, stderr=output)
            )
            try:
                code: int | None = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                process.kill()
                process.wait()
            size = os.fstat(output).st_size
            text = os.pread(output, 1024, max(0, size - 1024)).decode(errors="replace")
        return code, text.strip()

    def stop(self, grace: float, hook: Callable[[float], None] | None) -> None:
        """Hook, SIGTERM, and SIGKILL once `grace` seconds are over; returns when the container is gone."""
        self.hasten(grace)
        if hook is not None:
            hook(grace)
        self.signal(signal.SIGTERM)
        with self._changed:
            while not self.gone.is_set():
                left = self._deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        self.kill()
        self.gone.wait()

    def hasten(self, grace: float) -> None:
        """Kill in `grace` seconds at the latest; a later deadline than before changes nothing."""
        with self._changed:
            self._deadline = min(self._deadline, time.monotonic() + grace)
            self._changed.notify_all()
        if grace <= 0:
            self.kill()

    def ended(self) -> None:
        """Told by the reaper."""
        self.gone.set()
        with self._changed:
            self._changed.notify_all()


def start(processes: Processes, plan: Plan, stdout: int, stderr: int, done: Callable[[int], None]) -> Run:
    """Start the container; `done(return code)` is called from the reaper's thread. Raises CannotStart."""
    shutil.rmtree(plan.scratch, ignore_errors=True)
    for folder in ("root", "upper", "work"):
        (plan.scratch / folder).mkdir(parents=True)
    spec, status = plan.scratch / "spec.json", plan.scratch / "status"
    spec.touch(mode=0o600)
    spec.write_text(json.dumps(launch_spec(plan)))
    os.mkfifo(status, 0o600)
    process = processes.start(Command(_launcher(plan, spec, status), _marks(), stdout=stdout, stderr=stderr))
    pid, _, problem = _answer(status, process).partition("\n")
    if problem or not pid:
        process.kill()
        code = process.wait()
        raise CannotStart(problem or f"the container ended before it began (code {code})")
    run = Run(processes, plan, process, int(pid))

    def ended(code: int) -> None:
        run.ended()
        done(code)

    processes.when_done(process, ended)
    return run


def discard(plan: Plan) -> None:
    """Forget what an ended run wrote."""
    shutil.rmtree(plan.scratch, ignore_errors=True)


def _answer(status: Path, process: subprocess.Popen[bytes]) -> str:
    """What the launcher says until its program runs or it has failed: the FIFO's writer is closed by either."""
    reader, alive = os.open(status, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), os.pidfd_open(process.pid)
    text = b""
    try:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(alive, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            piece = os.read(reader, 4096) if reader in ready else b""
            text += piece
            if not piece:
                return text.decode(errors="replace")
    finally:
        os.close(reader)
        os.close(alive)


def _launcher(plan: Plan, spec: Path, status: Path) -> list[str]:
    return [
        *DIES_WITH_AGENT,
        *(NSENTER, f"--net={netns.DIRECTORY / plan.network}", "--"),
        *(UNSHARE, "--mount", "--uts", "--ipc", "--pid", "--propagation", "private", "--"),
        *("/bin/sh", "-c", RUN_AND_WAIT, "sh"),
        *(sys.executable, "-I", "-S", str(LAUNCH), str(spec), str(status)),
    ]


def _marks() -> dict[str, str]:
    """The variable by which a fleet's processes are known from outside; the program itself never sees it."""
    return {key: value for key, value in os.environ.items() if key == "MESHPROOF_FLEET_DIR"}


@contextlib.contextmanager
def _temporary_file() -> Iterator[int]:
    descriptor = os.memfd_create("meshproof")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
