"""An exec that goes on: one command in a pod, lines in on its stdin, lines out of its stdout.

Starting a program in a pod costs about a tenth of a second of processor time from end to end (a TLS connection to the
API server, another one to the node, the program itself). Who asks a pod again and again therefore keeps one command
there and talks to it. Like `exec_in` it goes by the API server to the node and never through the network under test.

One thread does all reading and writing, since a TLS connection must not be used by two at once; `say` only queues. What
the command writes to stderr is kept (its last part) for whoever tells why it ended. Nothing is retried: a conversation
that has ended stays ended, and `ended` is called once with the reason.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from meshproof.clusters.api import client_for, described
from meshproof.clusters.fleet import Cluster

STDERR_BYTES_KEPT = 400


class Conversation:
    """Opens at once, in a thread; what is said before the command runs is delivered then."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        heard: Callable[[bytes], None],
        ended: Callable[[str], None],
    ) -> None:
        """`heard` gets each line of stdout without its end, `ended` the reason; both in this object's own thread."""
        self._cluster, self._namespace, self._pod = cluster, namespace, pod
        self._container, self._argv = container, tuple(argv)
        self._heard, self._ended = heard, ended
        self._queue: deque[bytes] = deque()
        self._closing = False
        self._partial = b""
        self._stderr = b""
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        threading.Thread(target=self._run, name=f"talk {cluster.name}/{namespace}/{pod}", daemon=True).start()

    def say(self, line: bytes) -> None:
        """Send a line (without its end) to the command's stdin; at once when the connection stands."""
        self._queue.append(line + b"\n")
        self._wake()

    def close(self) -> None:
        """Let the command go; it sees the end of its input. Does not wait."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # the buffer is full, so the thread is awake anyway; or the conversation is over
            self._waker.send(b".")

    def _run(self) -> None:
        why = "it was closed"
        try:
            with client_for(self._cluster) as client:
                connection = self._connect(client)
                try:
                    why = self._exchange(connection)
                finally:
                    connection.shutdown()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the listener hears of it
            why = described(error)
        finally:
            self._waker.close()
            self._woken.close()
            said = self._stderr.decode("utf-8", "replace").strip()
            self._ended(f"{why}; stderr: {said!r}" if said else why)

    def _connect(self, client: Any) -> Any:
        from kubernetes.client import CoreV1Api
        from kubernetes.stream import stream

        options: dict[str, Any] = {"container": self._container} if self._container else {}
        return stream(
            CoreV1Api(client).connect_get_namespaced_pod_exec,
            self._pod,
            self._namespace,
            command=list(self._argv),
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
            **options,
        ).sock

    def _exchange(self, connection: Any) -> str:
        """Carry lines both ways until somebody ends it; why it ended."""
        connection.sock.settimeout(30)  # for the rest of a frame that has begun, and for a peer that takes nothing
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while not self._closing:
            while self._queue:
                connection.send_binary(b"\x00" + self._queue.popleft())
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
            if connection.sock.fileno() not in ready:
                continue
            pending = True
            while pending:
                if over := self._hear(*connection.recv_data(control_frame=True)):
                    return over
                pending = isinstance(connection.sock, ssl.SSLSocket) and connection.sock.pending() > 0
        return "it was closed"

    def _hear(self, opcode: int, data: bytes) -> str:
        """Why the conversation is over with this frame; empty when it is not."""
        from websocket import ABNF

        if opcode == ABNF.OPCODE_CLOSE:
            return "the connection was closed from afar"
        if opcode not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not data:
            return ""
        channel, rest = data[0], data[1:]
        if channel == 1:
            *lines, self._partial = (self._partial + rest).split(b"\n")
            for line in lines:
                self._heard(line)
        elif channel == 2:
            self._stderr = (self._stderr + rest)[-STDERR_BYTES_KEPT:]
        elif channel == 3:
            return f"the command has ended: {rest[:200].decode('utf-8', 'replace')}"
        return ""
