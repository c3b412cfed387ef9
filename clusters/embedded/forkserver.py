"""A process that has imported our Python agents once, and forks one for every agent that is to run.

Importing them costs 0.3 to 0.8 s of CPU each, and a fleet of three clusters has twelve: a fifth of all that its start
takes. A forked agent shares the imported code, and its memory, with the others. The fork is left by its parent at
once, so that the fleet's first process becomes its parent and reaps it, as if it had started it itself.

The server has one thread and opens nothing before it forks: what a fork would share by mistake is not there.

    python -m meshproof.clusters.embedded.forkserver DESCRIPTOR      (of a socket; one request, one answer)
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from meshproof.clusters.embedded import netns

AGENTS = (
    "meshproof.clusters.embedded.nodeagent.__main__",
    "meshproof.clusters.meshes.reference.agent",
    "meshproof.clusters.meshes.reference.exporter",
)
REQUEST_BYTES_MAX = 65_536
ANSWER_SECONDS_MAX = 30.0
"""The first answer comes when all is imported."""

PR_SET_NAME = 15


class Forked:
    """A forked agent: what `Keeper` uses of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class ForkServer:
    """The side that asks, from any thread; it must be the first process of its PID namespace, to inherit the forks."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_SECONDS_MAX)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
            )
        self._socket = ours
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(
        self, name: str, argv: list[str], namespace: str | None, log: int, environment: Mapping[str, str]
    ) -> Forked:
        """Run `argv` (module, arguments) in a network namespace, output to the open file `log`. Raises OSError."""
        request = {"name": name, "argv": argv, "namespace": namespace, "environment": dict(environment)}
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [log])
            answer = self._socket.recv(REQUEST_BYTES_MAX)
        if not answer:
            raise ConnectionError("the fork server has ended")
        return Forked(json.loads(answer))


def serve(ours: socket.socket) -> None:
    """Answer requests until the other side is gone."""
    for module in AGENTS:
        importlib.import_module(module)
    if threading.active_count() != 1:
        raise RuntimeError(f"importing the agents started threads: {threading.enumerate()}")
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(ours, REQUEST_BYTES_MAX, 1)
        if not data:
            return
        pid = _fork(ours, json.loads(data), descriptors[0])
        os.close(descriptors[0])
        ours.send(json.dumps(pid).encode())


def _fork(ours: socket.socket, request: Any, log: int) -> int:
    """The pid of an agent whose parent is the first process by the time this returns."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        agent = os.fork()
        if agent == 0:
            os.close(read)
            os.close(write)
            ours.close()
            _become(request, log)
        os.write(write, str(agent).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(between, 0)
    with open(read, "rb") as answer:
        return int(answer.read())


def _become(request: Any, log: int) -> NoReturn:
    """Be the agent, and end as it ends."""
    code = 1
    try:
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)
        if request["namespace"] is not None:
            netns.enter(request["namespace"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = list(request["argv"])
        random.seed()
        # What `ps` and `top` show; the command line stays the fork server's.
        ctypes.CDLL(None).prctl(PR_SET_NAME, request["name"].encode()[:15], 0, 0, 0)
        module, *arguments = sys.argv
        code = importlib.import_module(module).main(arguments) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - whatever it is goes to the agent's own log
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
