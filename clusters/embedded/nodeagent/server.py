"""The kubelet port of each node: exec and logs for the API server, over HTTPS with client certificates.

    GET  /containerLogs/{namespace}/{pod}/{container}   follow tailLines sinceSeconds sinceTime timestamps
                                                        previous limitBytes
    GET  /exec/{namespace}/{pod}/{container}            command input output error tty; WebSocket only
    GET  /healthz

Whoever has a certificate of the client CA may do all of it, as on a kubelet without an authorizer. Attach and
port-forward: 501.
"""

from __future__ import annotations

import datetime as dt
import select
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meshproof.clusters.embedded import netns
from meshproof.clusters.embedded.nodeagent import logs, streams
from meshproof.clusters.embedded.nodeagent.keeper import Keeper
from meshproof.clusters.embedded.nodeagent.logs import Wanted
from meshproof.clusters.embedded.nodeagent.nodes import PORT
from meshproof.clusters.embedded.nodeagent.pipes import Options
from meshproof.clusters.embedded.nodeagent.processes import Processes
from meshproof.clusters.embedded.nodeagent.settings import NodeSettings, Serving

Find = Callable[[str, str, str], Keeper | None]

HANDSHAKE_SECONDS = 10.0
BIND_SECONDS_MAX = 10.0
BIND_RETRY_SECONDS = 0.05


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, listening: socket.socket, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext
    ) -> None:
        super().__init__(listening.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: the handshake first, so that a slow client holds up nobody."""
        request.settimeout(HANDSHAKE_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as secure:
            secure.settimeout(None)
            self.RequestHandlerClass(secure, client_address, self)  # type: ignore[arg-type]  # typeshed asks for Self, which self is

    def shutdown_request(self, request: Any) -> None:
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that fails the handshake or goes away is its own business."""


def serve(node: NodeSettings, serving: Serving, find: Find, processes: Processes) -> None:
    """Listen on the node's address in the node's namespace, in threads. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(serving.cert, serving.key)
    context.load_verify_locations(serving.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED

    class Handler(_Handler):
        containers = staticmethod(find)
        children = processes

    server = _Server(netns.inside(node.netns, lambda: listen(node.address, PORT)), Handler, context)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 60}, name=f"kubelet port {node.name}", daemon=True
    ).start()


def listen(address: str, port: int) -> socket.socket:
    """A listening socket; waits a moment for an address that is still being set up. Raises OSError."""
    deadline = time.monotonic() + BIND_SECONDS_MAX
    while True:
        try:
            return socket.create_server((address, port), backlog=64)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(BIND_RETRY_SECONDS)  # a bounded poll: nobody tells us of a new address


def wanted(query: dict[str, list[str]], now: dt.datetime) -> Wanted:
    """The log options of a request. Raises ValueError for a number that is none."""

    def one(name: str) -> str:
        return query.get(name, [""])[-1]

    since = ""
    if one("sinceSeconds"):
        since = _stamp(now - dt.timedelta(seconds=int(one("sinceSeconds"))))
    elif one("sinceTime"):
        since = _stamp(dt.datetime.fromisoformat(one("sinceTime")))
    return Wanted(
        follow=one("follow") in ("true", "1"),
        timestamps=one("timestamps") in ("true", "1"),
        tail=int(one("tailLines")) if one("tailLines") else None,
        since=since,
        limit_bytes=int(one("limitBytes")) if one("limitBytes") else None,
    )


def _stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    containers: Find
    children: Processes

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        parts = url.path.strip("/").split("/")
        if parts == ["healthz"]:
            self._say(HTTPStatus.OK, "ok")
        elif parts[0] == "containerLogs" and len(parts) == 4:
            self._logs(parts[1], parts[2], parts[3], query)
        elif parts[0] == "exec" and len(parts) in (4, 5):
            self._exec(parts[1], parts[2], parts[-1], query)
        elif parts[0] in ("attach", "portForward", "run"):
            self._say(
                HTTPStatus.NOT_IMPLEMENTED,
                f"{parts[0]} is not offered by the embedded fleet's nodes; exec and logs are",
            )
        else:
            self._say(HTTPStatus.NOT_FOUND, "not found")

    do_POST = do_GET  # noqa: N815 - named by http.server

    def _logs(self, namespace: str, pod: str, name: str, query: dict[str, list[str]]) -> None:
        keeper = self.containers(namespace, pod, name)
        if keeper is None:
            self._say(HTTPStatus.NOT_FOUND, f"container {name!r} of pod {namespace}/{pod} is not here")
            return
        try:
            options = wanted(query, dt.datetime.now(dt.UTC))
        except ValueError as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
            return
        previous = query.get("previous", [""])[-1] in ("true", "1")
        path = keeper.log_path(previous)
        if not path.exists():
            what = "has no previous run" if previous else "is waiting to start"
            self._say(HTTPStatus.BAD_REQUEST, f"container {name!r} in pod {pod!r} {what}")
            return
        run = None if previous else keeper.run
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in logs.read(path, options, lambda: run is None or run.gone.is_set()):
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                elif self._client_left():
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def _exec(self, namespace: str, pod: str, name: str, query: dict[str, list[str]]) -> None:
        keeper = self.containers(namespace, pod, name)
        run = None if keeper is None else keeper.run
        if run is None:
            self._say(HTTPStatus.NOT_FOUND, f"container {name!r} of pod {namespace}/{pod} is not running")
            return
        protocol = streams.choose(self.headers.get("Sec-WebSocket-Protocol", ""))
        key = self.headers.get("Sec-WebSocket-Key", "")
        if not key or not protocol or "websocket" not in self.headers.get("Upgrade", "").lower():
            self._say(HTTPStatus.BAD_REQUEST, f"exec needs a WebSocket of {' or '.join(streams.PROTOCOLS)}")
            return
        options = Options(
            command=tuple(query.get("command", [])),
            stdin=_flag(query, "input", "stdin"),
            stdout=_flag(query, "output", "stdout"),
            stderr=_flag(query, "error", "stderr"),
            terminal=_flag(query, "tty"),
        )
        if not options.command:
            self._say(HTTPStatus.BAD_REQUEST, "exec needs a command")
            return
        self.close_connection = True
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", streams.accept(key))
        self.send_header("Sec-WebSocket-Protocol", protocol)
        self.end_headers()
        early = self._buffered()
        streams.Session(self.connection, self.children, run, options).serve(early)

    def _buffered(self) -> bytes:
        """What the client sent after its request and the request's reader has taken already."""
        self.connection.setblocking(False)
        try:
            return self.rfile.peek()  # type: ignore[attr-defined,no-any-return]  # a BufferedReader, typed BinaryIO
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""

    def _client_left(self) -> bool:
        """Whether the client has closed (it has nothing to say while it follows a log)."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def _say(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Requests are not logged: a command line may hold what must not be in a log."""


def _flag(query: dict[str, list[str]], *names: str) -> bool:
    return any(query.get(name, [""])[-1] in ("1", "true") for name in names)
