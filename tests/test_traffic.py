"""The traffic program, run as a pod runs it, over loopback."""

from __future__ import annotations

import ast
import base64
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from meshproof.fixtures import traffic
from tests.paper_time import PaperTime, paper_time

__all__ = ["paper_time"]

PROGRAM = Path(traffic.__file__).resolve()
COMMAND = [sys.executable, "-IS", str(PROGRAM)]
IDENTITY = {"CLUSTER": "east", "NODE": "east-1", "NAMESPACE": "ns", "POD": "echo-1", "POD_UID": "u-1"}
BY = {"cluster": "east", "node": "east-1", "namespace": "ns", "pod": "echo-1", "uid": "u-1", "peer": "127.0.0.1"}
Ports = dict[str, int]
LONG_SECONDS = 30.0
"""A time-out that no stall of this machine comes near, for requests that are answered."""
HANG_SECONDS_MAX = 60.0


@contextmanager
def serving(grace: float = LONG_SECONDS) -> Iterator[tuple[subprocess.Popen[bytes], Ports]]:
    """A server of its own on free ports."""
    free = [f"--{name}=0" for name in ("http", "tcp", "udp", "control")]
    command = [*COMMAND, "serve", *free, "--bind=127.0.0.1", f"--grace={grace}"]
    with subprocess.Popen(command, env=IDENTITY, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["serving"]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with serving() as (_, ports):
        yield ports


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield listener


def target(port: int, protocol: str = "http", host: str = "127.0.0.1", name: str = "x") -> dict[str, Any]:
    return {"id": name, "host": host, "port": port, "protocol": protocol}


def plan(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"run": "r1", "targets": list(targets), "count": 1, "interval": 0.01, "timeout": LONG_SECONDS, **more}


def encoded(given: Any) -> bytes:
    return base64.urlsafe_b64encode(given if isinstance(given, bytes) else json.dumps(given).encode())


def probe(*targets: dict[str, Any], files: int = 1024, **more: Any) -> list[dict[str, Any]]:
    """The rows of a plan; begin and end lines are checked here."""
    argument = encoded(plan(*targets, **more)).decode().rstrip("=")
    limit: Callable[[], None] = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # noqa: E731 - it stays short
    command = [*COMMAND, "probe", argument]
    # A name server that stays silent is to be found out in a second, however long a request may take.
    quick = {**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"}
    done = subprocess.run(command, env=quick, capture_output=True, timeout=HANG_SECONDS_MAX, preexec_fn=limit)
    begin, *rows, end = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, done.stderr, begin["begin"]["run"], end["end"]["run"]) == (0, b"", "r1", "r1")
    assert len(rows) == end["end"]["rows"]
    return rows


@contextmanager
def answering(listener: socket.socket, answer: Callable[[socket.socket], object]) -> Iterator[None]:
    """Every connection is served with `answer`."""

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection, suppress(OSError):  # the caller may be gone
                answer(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    yield
    # Closing alone would leave it in `accept`, which a stopped process begins anew: on whatever has the number by then.
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(HANG_SECONDS_MAX)


def http_get(port: int, path: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=LONG_SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        return int(connection.makefile("rb").read().split(b" ")[1])


def switch(ports: Ports, *words: str) -> dict[str, Any]:
    command = [*COMMAND, "control", f"--port={ports['control']}", *words]
    done = subprocess.run(command, capture_output=True, check=True, timeout=HANG_SECONDS_MAX)
    state: dict[str, Any] = json.loads(done.stdout)
    return state


def test_every_protocol_says_who_answered(ports: Ports) -> None:
    """HTTP, TCP and UDP are reached, by name and by address, and each answer carries the whole identity."""
    hosts = ("127.0.0.1", "localhost")
    asked = [target(ports[p], p, host, f"{p} {host}") for p in ("http", "tcp", "udp") for host in hosts]
    rows = probe(*asked, count=3)
    assert {row["target"] for row in rows} == {each["id"] for each in asked}
    assert [(row["outcome"], row["by"]) for row in rows] == [("reached", BY)] * 18


def test_the_server_closes_first(ports: Ports) -> None:
    """A caller that never closes sees the end of the answer, so TIME_WAIT stays with the server."""
    with socket.create_connection(("127.0.0.1", ports["tcp"]), timeout=LONG_SECONDS) as connection:
        assert json.loads(connection.makefile("rb").read()) == BY


def test_a_closed_port_refuses() -> None:
    """Nobody listening is refused on TCP, and on UDP, where ICMP tells."""
    with socket.socket() as bound, socket.socket(type=socket.SOCK_DGRAM) as gone:
        bound.bind(("127.0.0.1", 0))
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
        gone.close()
        rows = probe(target(bound.getsockname()[1], "tcp", name="a"), target(port, "udp", name="b"))
    assert [row["outcome"] for row in rows] == ["refused", "refused"]


def test_silence_times_out_and_nothing_waits_for_it(
    listening: socket.socket, ports: Ports, paper_time: PaperTime
) -> None:
    """With 6 targets every 10 ms, three of them silent for a second, every request starts when it is due."""
    silent = [target(listening.getsockname()[1], name=f"s{n}") for n in range(3)]
    given = plan(*silent, *(target(ports[p], p, name=p) for p in ("http", "tcp", "udp")), count=60, timeout=1)
    rows: list[dict[str, Any]] = []
    prober = traffic.Prober(traffic.Plan(given), rows.append)
    paper_time.busy = lambda: any(a.target.id[0] != "s" and not a.done for a in prober._under_way)
    paper_time.run(prober)
    assert len(rows) == 360
    assert all(row["start"] == pytest.approx(row["due"], abs=1e-6) for row in rows)
    outcomes = {(row["target"][0], row["outcome"]) for row in rows}
    assert outcomes == {("s", "timed-out"), ("h", "reached"), ("t", "reached"), ("u", "reached")}
    assert all(row["end"] - row["start"] >= 1 for row in rows if row["outcome"] == "timed-out")


def test_standing_still_is_no_silence(listening: socket.socket) -> None:
    """A time-out that ran out while the program itself did not run says nothing of the network."""
    given = plan(target(listening.getsockname()[1]), count=500, interval=0.1, timeout=0.6)
    argument = encoded(given).decode()
    with subprocess.Popen([*COMMAND, "probe", argument], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        select.select([], [], [], 0.9)
        process.send_signal(signal.SIGCONT)
        # Before it was stopped some may have found silence, where it was us who stood still.
        row = next(row for row in map(json.loads, process.stdout) if row["outcome"] != "timed-out")
        process.kill()
    assert row["outcome"] == "harness-error"
    assert "stood still" in row["detail"]


def test_a_full_backlog_times_out(paper_time: PaperTime) -> None:
    """A listener that takes no more connections drops the first packet, which is a time-out and not a refusal."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        rows = paper_time.rows(plan(target(listener.getsockname()[1]), timeout=0.3))
    assert [(row["outcome"], row["detail"]) for row in rows] == [("timed-out", traffic.NO_CONNECTION)]


LINGER, CARD = struct.pack("ii", 1, 0), json.dumps(BY).encode()
ANSWERS: list[tuple[str, Callable[[socket.socket], object], str, str]] = [
    ("http", lambda c: c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER), "reset", "ECONNRESET"),
    ("tcp", lambda c: None, "reset", "closed after 0 bytes"),
    ("tcp", lambda c: c.send(CARD[:9]), "reset", "closed after 9 bytes"),
    ("tcp", lambda c: c.send(b"SSH-2.0-x\r\n"), "http-status", "not our traffic program"),
    ("http", lambda c: c.recv(999) and c.send(b"HTTP/1.1 503 Unavailable\r\n\r\nno"), "http-status", "503 Unav"),
    ("http", lambda c: c.recv(999) and c.send(b"HTTP/1.1 200 OK\r\n\r\nwelcome"), "http-status", "200 but not our"),
    ("http", lambda c: c.recv(999) and c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "reset", "unfinished"),
    ("http", lambda c: c.recv(999) and c.send(b"SSH-2.0-x\r\n"), "http-status", "not HTTP"),
    ("http", lambda c: c.recv(999) and c.send(b"HTTP/1.0 200 OK\r\n\r\n" + CARD), "reached", ""),
]


@pytest.mark.parametrize(("protocol", "answer", "outcome", "detail"), ANSWERS)
def test_an_answer_is_judged_by_what_came(
    listening: socket.socket, protocol: str, answer: Callable[[socket.socket], object], outcome: str, detail: str
) -> None:
    """Resets, cut answers and answers of somebody else are told apart, and only our own whole answer is reached."""
    with answering(listening, answer):
        (row,) = probe(target(listening.getsockname()[1], protocol))
    assert (row["outcome"], "by" in row) == (outcome, outcome == "reached")
    assert detail in row["detail"]


def test_a_late_datagram_does_not_answer_a_later_request(paper_time: PaperTime) -> None:
    """An answer with another request's token is left alone, and counted in the detail."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        tokens: list[bytes] = []

        def echo() -> bool:
            try:
                token, sender = server.recvfrom(999, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            tokens.append(token)
            if len(tokens) == 2:
                server.sendto(json.dumps({**BY, "token": tokens[0].decode()}).encode(), sender)
            return True

        paper_time.busy = echo
        rows = paper_time.rows(plan(target(server.getsockname()[1], "udp"), count=2, timeout=0.3))
    assert [row["outcome"] for row in rows] == ["timed-out", "timed-out"]
    assert "1 answers to other requests" in rows[1]["detail"]


def test_an_unknown_name_is_a_dns_failure() -> None:
    """A name that cannot exist fails as a name, whether the resolver says so or stays silent."""
    assert [row["outcome"] for row in probe(target(80, host="nobody.invalid"))] == ["dns-failure"]


def test_a_hanging_lookup_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, ports: Ports, paper_time: PaperTime
) -> None:
    """It ends as a dns failure at the time-out; other targets, and the end of the plan, do not wait for it."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [[released.wait(HANG_SECONDS_MAX)] * 4 + [("127.0.0.1", 1)]])
    rows: list[dict[str, Any]] = []
    asked = plan(target(80, host="hangs.test"), target(ports["tcp"], "tcp", name="y"), count=3, timeout=0.2)
    prober, started = traffic.Prober(traffic.Plan(asked), rows.append), paper_time.now
    paper_time.busy = lambda: any(attempt.target.id == "y" and not attempt.done for attempt in prober._under_way)
    paper_time.run(prober)
    assert not released.is_set()
    released.set()
    assert paper_time.now - started == pytest.approx(0.22)
    seen = sorted((row["target"], row["outcome"]) for row in rows)
    assert seen == [("x", "dns-failure")] * 3 + [("y", "reached")] * 3


def test_our_own_limit_is_not_the_network(listening: socket.socket) -> None:
    """Out of file descriptors is a harness error, for literal addresses and for names that could not be looked up."""
    port = listening.getsockname()[1]
    rows = probe(target(port), target(80, host="nobody.invalid", name="y"), files=12, count=20, timeout=0.3)
    limited = [row for row in rows if "EMFILE" in row["detail"]]
    assert {(row["target"], row["outcome"]) for row in limited} >= {("x", "harness-error")}
    # The others found silence, or that we stood still.
    assert {row["outcome"] for row in rows if row["target"] == "x"} <= {"timed-out", "harness-error"}
    assert {row["outcome"] for row in limited} == {"harness-error"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"count": 50_001, "targets": [target(1), target(1, name="y")]}, "more than 100000"),
    ({"timeout": 61}, "timeout"),
    ({"interval": float("nan")}, "interval"),
    ({"count": 600, "interval": 1.1}, "longer than 600"),
    ({"targets": []}, "targets"),
    ({"targets": [target(1), target(1)]}, "same id"),
    ({"targets": [target(70_000)]}, "port"),
    ({"targets": [target(1, host="a b")]}, "not a name"),
    ({"spare": {"chain": "c", "after": 1, "interval": 1.0, "count": 600}}, "longer than 600"),
    ({"spare": {"chain": "c", "after": 1, "interval": 0, "count": 100_000}}, "more than 100000"),
    ({"spare": {"chain": "c", "after": 1, "interval": 1.0, "count": -1}}, "count"),
    ({"spare": {"chain": "c", "after": 1, "interval": 1.0, "count": True}}, "count"),
    ({"spare": {"chain": "", "after": 1, "interval": 1.0, "count": 6}}, "chain"),
    ({"spare": "mine"}, "spare"),
]


@pytest.mark.parametrize(("change", "why"), REFUSED)
def test_an_impossible_plan_is_refused(change: dict[str, Any], why: str) -> None:
    """A plan outside the limits never starts, and the sentence names what is wrong."""
    text = json.dumps({**plan(target(1)), **change}).encode()
    read, write = os.pipe()
    with os.fdopen(read) as printed, os.fdopen(write) as end:
        assert traffic.probe(text, end.fileno()) == 2
        assert why in json.loads(printed.readline())["error"]


def test_a_reader_that_went_away_ends_the_probing(ports: Ports) -> None:
    """Nobody is left to tell, so a long plan stops instead of going on unheard."""
    long = plan(target(ports["tcp"], "tcp"), count=10_000, interval=0.05)
    with subprocess.Popen([*COMMAND, "probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - for the type checker
        process.stdin.write(json.dumps(long).encode())
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(HANG_SECONDS_MAX) == 1


def test_readiness_is_switched_from_inside_only(ports: Ports) -> None:
    """Not ready is a 503 on /ready, while requests are answered all the same; the public port has no switches."""
    assert switch(ports, "readiness", "off")["ready"] is False
    assert [http_get(ports["http"], path) for path in ("/ready", "/healthz", "/", "/status")] == [503, 200, 200, 404]
    assert switch(ports, "readiness", "on")["ready"] is True
    assert http_get(ports["http"], "/ready") == 200


def test_a_delay_makes_requests_late_and_not_readiness(ports: Ports, paper_time: PaperTime) -> None:
    """Delayed answers come after the time-out on every protocol, until the delay is taken back."""
    asked = [target(ports[p], p, name=p) for p in ("http", "tcp", "udp")]
    assert switch(ports, "delay", "60000")["delay_ms"] == 60_000
    outcomes = {row["outcome"] for row in paper_time.rows(plan(*asked, timeout=2))}
    assert (outcomes, http_get(ports["http"], "/ready")) == ({"timed-out"}, 200)
    assert switch(ports, "delay", "0")["delay_ms"] == 0
    assert {row["outcome"] for row in probe(*asked)} == {"reached"}


def test_a_delayed_answer_comes_later(ports: Ports) -> None:
    """What comes within the time-out is late by the delay, and reached."""
    asked = [target(ports[p], p, name=p) for p in ("http", "tcp", "udp")]
    switch(ports, "delay", "100")
    rows = probe(*asked)
    switch(ports, "delay", "0")
    assert {row["outcome"] for row in rows} == {"reached"}
    assert all(row["end"] - row["start"] >= 0.1 for row in rows)


def test_a_server_tells_that_it_stood_still() -> None:
    """Stopped for a while, it says so afterwards, and until then that it did not."""
    with serving() as (process, ports):
        before = switch(ports, "status")["now"]
        process.send_signal(signal.SIGSTOP)
        select.select([], [], [], 0.6)
        process.send_signal(signal.SIGCONT)
        after = switch(ports, "status")
        assert max(seconds for at, seconds in after["still"] if before < at <= after["now"]) > 0.5
        assert (after["ready"], after["draining"]) == (True, False)
        assert after["clock"]


def test_sigterm_drains() -> None:
    """On SIGTERM readiness goes at once, and requests are served all the same; a second one ends it at once, well."""
    with serving(grace=HANG_SECONDS_MAX) as (process, ports):
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + LONG_SECONDS
        while http_get(ports["http"], "/ready") == 200:
            assert time.monotonic() < deadline, "it stays ready"
        assert [http_get(ports["http"], path) for path in ("/ready", "/")] == [503, 200]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_SECONDS) == 0


def test_the_grace_period_ends() -> None:
    """A server that drains ends well by itself, and not before."""
    with serving(grace=0.3) as (process, _):
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_SECONDS) == 0
        assert time.monotonic() - began >= 0.3


def test_garbage_does_no_harm(ports: Ports) -> None:
    """Nonsense and huge heads get an error, and the server goes on."""
    for request, status in ((b"\xff\0\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431")):
        with socket.create_connection(("127.0.0.1", ports["http"]), timeout=LONG_SECONDS) as connection:
            connection.sendall(request)
            assert connection.makefile("rb").read().split(b" ")[1] == status
    assert http_get(ports["http"], "/") == 200


def test_it_runs_under_an_old_python_alone() -> None:
    """The file parses as Python 3.9 and imports the standard library only."""
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert {str(name).partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_odd_lines_end_no_conversation(ports: Ports) -> None:
    """Whatever one asker sends, the plans of the others in the same pod are run."""
    asks = plan(target(ports["tcp"], "tcp"))
    deep, huge = b"[" * 100_000, {**asks, "spare": {"chain": "c", "after": 0, "interval": 1.0, "count": 10**400}}
    odd = [b"- \xff", b"-", b"", b"1", b"2 !", b"3 " + encoded(deep), b"4 " + encoded(huge)]
    lines = b"".join(line + b"\n" for line in [*odd, b"5 " + encoded(asks)])
    with subprocess.Popen([*COMMAND, "converse"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - for the type checker
        process.stdin.write(lines)
        process.stdin.flush()
        told = list(iter(process.stdout.readline, b"5\n"))
        process.stdin.close()
    assert sum(b'"error"' in line for line in told) == 5
    assert sum(line.startswith(b"5 ") and b'"reached"' in line for line in told) == 1
