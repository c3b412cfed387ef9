"""Exec over a WebSocket, as the API server passes it on: protocols v5.channel.k8s.io and v4.channel.k8s.io.

The first byte of a message is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status as JSON, 4 terminal
size, 255 "that channel is closed" (v5). One thread serves one session with one poll loop, because a TLS connection
must not be used by two at once; output is read from the process only as fast as the client takes it. When the
client goes, the process is killed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import select
import ssl
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import ProtocolError

from meshproof.clusters.embedded.nodeagent import pipes
from meshproof.clusters.embedded.nodeagent.container import Run
from meshproof.clusters.embedded.nodeagent.pipes import Options, Pipes
from meshproof.clusters.embedded.nodeagent.processes import Processes

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, ERROR, RESIZE, CLOSE = 0, 3, 4, 255
BUFFER_BYTES = 256 * 1024
DRAIN_SECONDS_MAX = 30.0
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def choose(offered: str) -> str:
    """The best protocol among those a client offers (comma-separated); empty when there is none."""
    names = {name.strip() for name in offered.split(",")}
    return next((name for name in PROTOCOLS if name in names), "")


def accept(key: str) -> str:
    """The answer to Sec-WebSocket-Key (RFC 6455)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def verdict(code: int) -> dict[str, Any]:
    """The Status object that ends an exec; `code` as `subprocess` gives it."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    number = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {number}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(number)}]},
    }


class Session:
    """One exec, from the upgraded connection to its close."""

    def __init__(self, connection: ssl.SSLSocket, processes: Processes, run: Run, options: Options) -> None:
        self._socket = connection
        self._processes = processes
        self._run = run
        self._options = options
        self._websocket = Connection(ConnectionType.SERVER)
        self._pipes = Pipes()
        self._output = bytearray()
        """Frames on their way to the client."""
        self._input = bytearray()
        """Bytes on their way to the process."""
        self._input_over = False
        self._channel: int | None = None
        self._left = False

    def serve(self, early: bytes) -> None:
        """Run the command to its end or the client's. Never raises for what either of them does."""
        try:
            process, self._pipes = pipes.start(self._processes, self._run, self._options)
        except OSError as error:
            failure = {
                "metadata": {},
                "status": "Failure",
                "reason": "InternalError",
                "message": str(error),
                "code": 500,
            }
            self._send(ERROR, json.dumps(failure).encode())
            self._close()
            return
        alive = os.pidfd_open(process.pid)
        try:
            self._socket.setblocking(False)
            self._receive(early)
            self._exchange(alive)
        finally:
            os.close(alive)
            process.kill()
            code = process.wait()
            self._pipes.close()
        if not self._left:
            self._send(ERROR, json.dumps(verdict(code)).encode())
            self._close()

    def _exchange(self, alive: int) -> None:
        """Carry bytes both ways until the process has ended and its output is sent, or the client is gone."""
        while not self._left:
            ready = self._poll(alive)
            if ready.get(self._socket.fileno(), 0) & ~select.POLLOUT:
                self._read_socket()
            over = alive in ready
            full = len(self._output) >= BUFFER_BYTES
            for descriptor, channel in list(self._pipes.outputs.items()):
                if over or (not full and descriptor in ready):
                    self._read_output(descriptor, channel, to_the_end=over)
            self._write_input()
            self._flush()
            if over:
                return

    def _poll(self, alive: int) -> dict[int, int]:
        poll = select.poll()
        interest = select.POLLIN if len(self._input) < BUFFER_BYTES else 0
        poll.register(self._socket, interest | (select.POLLOUT if self._output else 0))
        poll.register(alive, select.POLLIN)
        if len(self._output) < BUFFER_BYTES:
            for descriptor in self._pipes.outputs:
                poll.register(descriptor, select.POLLIN)
        target = self._stdin()
        if self._input and target != -1 and target not in self._pipes.outputs:
            poll.register(target, select.POLLOUT)
        # Bytes that TLS has decrypted already do not show on the descriptor.
        return dict(poll.poll(0 if self._socket.pending() and interest else None))

    def _stdin(self) -> int:
        return self._pipes.terminal if self._options.terminal else self._pipes.stdin

    def _read_socket(self) -> None:
        while len(self._input) < BUFFER_BYTES and not self._left:
            try:
                data = self._socket.recv(65536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                data = b""
            if not data:
                self._left = True
                return
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                if isinstance(event, CloseConnection):
                    self._left = True
                    self._output += self._websocket.send(event.response())
                    self._flush()
                elif isinstance(event, Ping):
                    self._output += self._websocket.send(event.response())
                elif isinstance(event, (BytesMessage, TextMessage)):
                    part = event.data if isinstance(event, BytesMessage) else event.data.encode()
                    self._take(bytes(part), event.message_finished)
        except ProtocolError:
            self._left = True

    def _take(self, part: bytes, finished: bool) -> None:
        """A message or a fragment of one; only the first fragment has the channel byte."""
        if self._channel is None and part:
            self._channel, part = part[0], part[1:]
        if self._channel == STDIN:
            self._input += part
        elif self._channel == CLOSE and part[:1] == bytes([STDIN]):
            self._input_over = True
        elif self._channel == RESIZE and self._pipes.terminal != -1:
            with contextlib.suppress(ValueError, KeyError, OSError):
                size = json.loads(part)
                self._pipes.resize(int(size["Height"]), int(size["Width"]))
        if finished:
            self._channel = None

    def _read_output(self, descriptor: int, channel: int, to_the_end: bool) -> None:
        while True:
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""  # a terminal whose other side is closed
            if not data:
                del self._pipes.outputs[descriptor]
                if descriptor != self._pipes.terminal:
                    os.close(descriptor)
                return
            self._send(channel, data)
            if not to_the_end:
                return

    def _write_input(self) -> None:
        target = self._stdin()
        if target == -1:
            self._input.clear()
            return
        if self._input:
            try:
                del self._input[: os.write(target, self._input)]
            except BlockingIOError:
                return
            except OSError:
                self._input.clear()  # the process does not read any more
                self._input_over = True
        if self._input_over and not self._input and target == self._pipes.stdin:
            os.close(target)
            self._pipes.stdin = -1

    def _send(self, channel: int, data: bytes) -> None:
        self._output += self._websocket.send(BytesMessage(data=bytes([channel]) + data))

    def _flush(self) -> None:
        """Send what the connection takes now."""
        while self._output and not self._left:
            try:
                del self._output[: self._socket.send(self._output)]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self._left = True

    def _close(self) -> None:
        """The closing handshake: everything that waits, a close frame, and the client's, with a time limit."""
        self._output += self._websocket.send(CloseConnection(code=1000))
        try:
            self._socket.settimeout(DRAIN_SECONDS_MAX)
            self._socket.sendall(self._output)
            self._output.clear()
            while self._socket.recv(65536):
                pass
        except OSError:
            self._left = True
