"""The Kubernetes seam against an API server that is a few lines long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from urllib3.exceptions import HTTPError
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, RejectData, Request

from meshproof.clusters import api as api_module
from meshproof.clusters.api import ExecFailed, _Exchange, client_for, exec_in
from meshproof.clusters.fleet import Cluster, ClusterSpec

Script = Callable[["Peer"], None]
HANG_SECONDS_MAX = 30.0
SUCCESS = b'{"status":"Success"}'
CAUSES = b'{"causes":[{"reason":"ExitCode","message":"3"}]}'
EXIT_3 = b'{"status":"Failure","reason":"NonZeroExitCode","message":"exit 3","details":%s}' % CAUSES


class Peer:
    """The server's end of one exec."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.ws, self.target = connection, WSConnection(ConnectionType.SERVER), ""

    def request(self) -> None:
        while True:
            self.ws.receive_data(self.connection.recv(65536))
            for event in self.ws.events():
                if isinstance(event, Request):
                    self.target = event.target
                    return

    def accept(self) -> None:
        self.connection.sendall(self.ws.send(AcceptConnection(subprotocol="v5.channel.k8s.io")))

    def say(self, channel: int, data: bytes) -> None:
        self.connection.sendall(self.ws.send(BytesMessage(bytes([channel]) + data)))

    def finish(self, status: bytes = SUCCESS) -> None:
        self.say(3, status)
        self.connection.sendall(self.ws.send(CloseConnection(1000)))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Callable[[Script], Cluster]]:
    """Starts an API server that plays a script on its one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    release = threading.Event()

    def start(script: Script) -> Cluster:
        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                peer = Peer(connection)
                peer.request()
                script(peer)
                release.wait(0 if script is not silent else HANG_SECONDS_MAX)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return cluster(tmp_path, listener.getsockname()[1])

    yield start
    release.set()
    for thread in threads:
        thread.join(HANG_SECONDS_MAX)
    listener.close()


def silent(peer: Peer) -> None:
    peer.accept()
    peer.say(1, b"half")


def cluster(directory: Path, port: int) -> Cluster:
    kubeconfig = directory / "kubeconfig"
    context = {"cluster": "east", "user": "east"}
    named = {"clusters": {"server": f"http://127.0.0.1:{port}"}, "users": {}, "contexts": context}
    parts = {kind: [{"name": "east", kind[:-1]: value}] for kind, value in named.items()}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **parts}))
    spec = ClusterSpec("east", 1, 1, "10.101.0.0/24", "10.141.0.0/16", "172.20.0.0/16")
    return Cluster(spec, "east", kubeconfig)


def test_exec_brings_every_byte_and_the_exit_code(api: Callable[[Script], Cluster]) -> None:
    """Binary output in many frames arrives whole, stderr apart, and argv word by word."""
    whole = bytes(range(256)) * 2000
    targets: list[str] = []

    def script(peer: Peer) -> None:
        targets.append(peer.target)
        peer.accept()
        for start in range(0, len(whole), 9999):
            peer.say(1, whole[start : start + 9999])
        peer.say(2, b"oh\xff")
        peer.finish(EXIT_3)

    done = exec_in(api(script), "ns", "client-0", "traffic", ["python3", "a b"], HANG_SECONDS_MAX)
    assert (done.stdout == whole, done.stderr, done.code, done.error) == (True, b"oh\xff", 3, "exit 3")
    assert done.first is not None
    assert done.started <= done.first <= done.ended
    assert targets[0].startswith("/api/v1/namespaces/ns/pods/client-0/exec?")
    asked = parse_qsl(targets[0].partition("?")[2])
    assert [value for key, value in asked if key == "command"] == ["python3", "a b"]
    assert ("container", "traffic") in asked


def test_a_lost_status_is_a_failure_that_keeps_the_output(api: Callable[[Script], Cluster]) -> None:
    """A connection that ends early raises, and what came before is still there to be judged."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.say(1, b"rows")

    with pytest.raises(ExecFailed) as failed:
        exec_in(api(script), "ns", "p", "", ["x"], HANG_SECONDS_MAX)
    assert (failed.value.executed.stdout, failed.value.executed.code) == (b"rows", None)
    assert failed.value.detail


def test_a_close_without_status_is_a_failure(api: Callable[[Script], Cluster]) -> None:
    """A polite close does not make up for the missing status."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.connection.sendall(peer.ws.send(CloseConnection(1000)))

    with pytest.raises(ExecFailed, match="without the command's status"):
        exec_in(api(script), "ns", "p", "", ["x"], HANG_SECONDS_MAX)


class Done(threading.Event):
    """The end of an exec, for which nobody waits before it has brought its half output: it may be long under way."""

    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def wait(self, timeout: float | None = None) -> bool:
        until = time.monotonic() + HANG_SECONDS_MAX
        while self._exchange.executed().stdout != b"half" and time.monotonic() < until:
            super().wait(0.005)
        return super().wait(timeout)


def test_a_silent_command_ends_with_the_time(api: Callable[[Script], Cluster], monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds although the connection stays open, and the half output is kept."""

    class Exchange(_Exchange):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.done = Done(self)

    monkeypatch.setattr(api_module, "_Exchange", Exchange)
    with pytest.raises(ExecFailed, match=r"no end within 0\.2 s") as failed:
        exec_in(api(silent), "ns", "p", "", ["x"], 0.2)
    assert failed.value.executed.stdout == b"half"


def test_a_refused_exec_says_what_the_server_said(api: Callable[[Script], Cluster]) -> None:
    """An HTTP error comes through with its status and text."""

    def script(peer: Peer) -> None:
        answer = peer.ws.send(RejectConnection(status_code=404, headers=[(b"content-length", b"7")], has_body=True))
        peer.connection.sendall(answer + peer.ws.send(RejectData(b"no pod\n")))

    with pytest.raises(ExecFailed, match="404"):
        exec_in(api(script), "ns", "p", "", ["x"], HANG_SECONDS_MAX)


def test_no_api_server_is_a_failure(tmp_path: Path) -> None:
    """A dead API server, or a kubeconfig that is not there, is an ExecFailed like any other."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ExecFailed, match="refused"):
            exec_in(cluster(tmp_path, closed.getsockname()[1]), "ns", "p", "", ["x"], HANG_SECONDS_MAX)
    with pytest.raises(ExecFailed):
        exec_in(Cluster(cluster(tmp_path, 1).spec, "east", tmp_path / "none"), "ns", "p", "", ["x"], HANG_SECONDS_MAX)


def test_every_call_has_a_time_out_and_no_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that names no time-out gets ours, one that does keeps its own, and a refused one is tried once."""
    from kubernetes.client import CoreV1Api

    seen: Any = []
    with client_for(cluster(tmp_path, 1)) as client:
        pools = client.rest_client.pool_manager
        real = pools.request
        monkeypatch.setattr(pools, "request", lambda *a, **k: [seen.append(k["timeout"]), real(*a, **k)])
        for seconds in (None, 7):
            with pytest.raises(HTTPError, match="refused"):
                CoreV1Api(client).list_node(_request_timeout=seconds)
        assert client.configuration.retries is False
    assert [(t.connect_timeout, t.read_timeout) for t in seen[:1]] == [(5.0, 30.0)]
    assert seen[1].total == 7
    assert len(seen) == 2
