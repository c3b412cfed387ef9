"""Child processes that die with the agent: one thread starts them all, one thread waits for them all.

The kernel ties "kill me when my parent dies" to the parent's *thread*, so every child is made by one thread that
lives as long as the agent. Children inherit no descriptor but those named, and no environment but the one given.
"""

from __future__ import annotations

import os
import queue
import select
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

SETPRIV = "/usr/bin/setpriv"
NSENTER = "/usr/bin/nsenter"
UNSHARE = "/usr/bin/unshare"
DIES_WITH_AGENT = (SETPRIV, "--pdeathsig", "KILL", "--")


@dataclass(frozen=True, slots=True)
class Command:
    """What to start: argv, environment, and the descriptors that become its stdin, stdout and stderr."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    stderr: int = subprocess.DEVNULL
    passed: tuple[int, ...] = ()
    new_session: bool = True


class Processes:
    """Starts children and says when they end. Thread-safe."""

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[Command, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        self._poll = select.epoll()
        self._watched: dict[int, tuple[subprocess.Popen[bytes], Callable[[int], None]]] = {}
        threading.Thread(target=self._start_all, name="spawner", daemon=True).start()
        threading.Thread(target=self._wait_all, name="reaper", daemon=True).start()

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        """The started child. Raises OSError when its program cannot be executed."""
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._wanted.put((command, answer))
        return answer.result()

    def when_done(self, process: subprocess.Popen[bytes], done: Callable[[int], None]) -> None:
        """Call `done(return code)` from the reaper's thread once the process has ended; -n means signal n."""
        descriptor = os.pidfd_open(process.pid)
        self._watched[descriptor] = (process, done)
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def _start_all(self) -> None:
        while True:
            command, answer = self._wanted.get()
            try:
                process = subprocess.Popen(
                    command.argv,
                    env=dict(command.environment),
                    stdin=command.stdin,
                    stdout=command.stdout,
                    stderr=command.stderr,
                    pass_fds=command.passed,
                    start_new_session=command.new_session,
                    cwd="/",
                )
            except Exception as error:  # noqa: BLE001 - it is the caller's
                answer.set_exception(error)
            else:
                answer.set_result(process)

    def _wait_all(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                process, done = self._watched.pop(descriptor)
                self._poll.unregister(descriptor)
                os.close(descriptor)
                done(process.wait())
