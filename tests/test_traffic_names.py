"""Questions to a name server, UDP from one port, and readiness in turns: what the traffic program learned later."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshproof.fixtures import traffic
from meshproof.fixtures.traffic import Judged, Plan, PlanRefused, Prober, Server, SourcePorts, dns_question, judge_dns
from tests.paper_time import PaperTime, paper_time

__all__ = ["paper_time"]

Run = Callable[..., list[dict[str, Any]]]
LONG_SECONDS = 30.0
"""A time-out that no stall of this machine comes near."""


def answer(question: bytes, code: int = 0, addresses: tuple[str, ...] = (), flags: int = 0x8180) -> bytes:
    """What a name server says to a question: by a pointer to its name, after one alias."""
    number = question[:2]
    asked = question[12 : question.index(b"\0", 12) + 5]
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 30, 2) + b"\xc0\x0c"
    records = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + socket.inet_aton(address) for address in addresses
    )
    counts = struct.pack("!HHHH", 1, len(addresses) + bool(addresses), 0, 0)
    return number + struct.pack("!H", flags | code) + counts + asked + (alias if addresses else b"") + records


QUESTION = dns_question("echo.ns.svc.cluster.local.", 77)


@pytest.mark.parametrize(
    ("said", "outcome", "detail"),
    [
        (answer(QUESTION, addresses=("10.0.0.10", "10.0.0.9")), "reached", "[10.0.0.9,10.0.0.10]"),
        (answer(QUESTION, code=3), "dns-failure", "NXDOMAIN"),
        (answer(QUESTION, code=2), "dns-failure", "SERVFAIL"),
        (answer(QUESTION), "dns-failure", "NOERROR without an address"),
        (answer(QUESTION, flags=0x8380), "harness-error", "cut off"),
        (answer(QUESTION, addresses=("10.0.0.9",))[:-3], "http-status", "no answer of a name server"),
    ],
)
def test_a_name_server_is_taken_at_its_word(said: bytes, outcome: str, detail: str) -> None:
    """No such name, a server that fails and a name without an address are three different things."""
    judged = judge_dns(said, 77)
    assert judged is not None
    assert (judged.outcome, judged.by) == (outcome, None)
    assert detail in judged.detail


@pytest.mark.parametrize("said", [answer(dns_question("echo.ns.", 78)), QUESTION])
def test_an_answer_to_another_question_is_none(said: bytes) -> None:
    """Another number, or a question, is not taken for the answer."""
    assert judge_dns(said, 77) is None


@pytest.fixture
def udp(paper_time: PaperTime) -> Iterator[Callable[[Callable[[bytes, int], bytes | None]], int]]:
    """Starts a UDP server on loopback that answers by a function of the datagram and its sender's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def start(reply: Callable[[bytes, int], bytes | None]) -> int:
            def answered() -> bool:
                try:
                    data, sender = sock.recvfrom(4096, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return False
                if (said := reply(data, sender[1])) is not None:
                    sock.sendto(said, sender)
                return True

            paper_time.busy = answered
            return int(sock.getsockname()[1])

        yield start


@pytest.fixture
def run(paper_time: PaperTime) -> Run:
    """Runs a plan with one target, on paper; its rows in order of their number."""

    def run(count: int = 3, timeout: float = 0.3, **target: Any) -> list[dict[str, Any]]:
        return paper_time.rows(given(count, timeout, **target))

    return run


def given(count: int = 3, timeout: float = 0.3, **target: Any) -> dict[str, Any]:
    return {"run": "r", "targets": [{"id": "t", **target}], "count": count, "interval": 0.02, "timeout": timeout}


def test_a_name_is_asked_for_each_time(
    udp: Callable[[Callable[[bytes, int], bytes | None]], int], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every probe is a question of its own to the pod's name server; silence is a time-out."""
    asked = []

    def reply(data: bytes, _: int) -> bytes | None:
        asked.append(data[:2])
        return None if len(asked) == 3 else answer(data, addresses=("10.0.0.9",))

    monkeypatch.setattr(traffic, "name_server", lambda: "127.0.0.1")
    rows = run(host="echo.ns.svc.cluster.local.", port=udp(reply), protocol="dns")
    assert [row["outcome"] for row in rows] == ["reached", "reached", "timed-out"]
    assert "by" not in rows[0]
    assert rows[0]["detail"] == "[10.0.0.9]"


def test_a_question_that_was_lost_is_asked_again(
    udp: Callable[[Callable[[bytes, int], bytes | None]], int], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lost packet delays an answer by a second, as it does a connection; the same question is asked, once."""
    asked: list[bytes] = []

    def reply(data: bytes, _: int) -> bytes | None:
        asked.append(data)
        return answer(data, code=3) if len(asked) == 2 else None

    monkeypatch.setattr(traffic, "name_server", lambda: "127.0.0.1")
    port = udp(reply)
    (row,) = run(1, 2.5, host="echo.ns.svc.cluster.local.", port=port, protocol="dns")
    assert (row["outcome"], row["detail"]) == ("dns-failure", "NXDOMAIN")
    assert row["end"] - row["start"] == pytest.approx(1.0)
    assert asked[0] == asked[1]
    (row,) = run(1, 2.5, host="echo.ns.svc.cluster.local.", port=port, protocol="dns")
    assert (row["outcome"], len(asked)) == ("timed-out", 4)


def test_requests_of_a_flow_leave_from_one_port(
    udp: Callable[[Callable[[bytes, int], bytes | None]], int], run: Run
) -> None:
    """All come from the given port, and answers out of order find their requests; one that is lost is a time-out."""
    ports, held = set(), []

    def reply(data: bytes, sender: int) -> bytes | None:
        ports.add(sender)
        held.append(data.decode())
        card = dict.fromkeys(traffic.IDENTITY, "x")
        if len(held) == 1:
            return None
        token = held[-1] if len(held) > 2 else "r.0.7"
        return str({**card, "token": token}).replace("'", '"').encode()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        source = free.getsockname()[1]
    rows = run(count=4, host="127.0.0.1", port=udp(reply), protocol="udp", source=source)
    assert ports == {source}
    assert [row["outcome"] for row in rows] == ["timed-out", "timed-out", "reached", "reached"]


def test_a_lookup_that_breaks_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no lookup should raise is a harness error, not silence that looks like the network's."""

    def broken(*_: object) -> None:
        raise LookupError("unknown encoding: idna")

    monkeypatch.setattr(socket, "getaddrinfo", broken)
    rows: list[dict[str, Any]] = []
    asked = Plan(given(1, LONG_SECONDS, host="echo.ns", port=80, protocol="http"))
    Prober(asked, rows.append).run(time.monotonic(), lambda: True)
    (row,) = rows
    assert (row["outcome"], row["detail"]) == ("harness-error", "looking up: LookupError: unknown encoding: idna")


def test_source_ports_come_one_after_the_other() -> None:
    """A port comes back when all others have been had; one that somebody else has is passed over."""
    with socket.socket() as taken, socket.socket() as sock:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        ports = SourcePorts(first=port)
        ports.bind(sock)
        assert port < sock.getsockname()[1] < port + 100 or port > 60_000


def test_a_flow_that_is_refused_says_so(run: Run) -> None:
    """A closed port is refused on a flow as on a socket for each request."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free,
    ):
        for sock in (closed, free):
            sock.bind(("127.0.0.1", 0))
        port, source = closed.getsockname()[1], free.getsockname()[1]
    assert {row["outcome"] for row in run(3, 2.0, host="127.0.0.1", port=port, protocol="udp", source=source)} == {
        "refused"
    }


@pytest.mark.parametrize(
    "target",
    [
        {"protocol": "tcp", "source": 1024},
        {"protocol": "udp", "source": 70_000},
        {"protocol": "udp", "source": True},
        {"protocol": "dns", "host": "a..b"},
    ],
)
def test_a_target_that_makes_no_sense_is_refused(target: dict[str, Any]) -> None:
    """A source port is for UDP and is a port; a name has labels."""
    with pytest.raises(PlanRefused):
        Plan(given(**{"host": "127.0.0.1", "port": 80, **target}))


def test_readiness_comes_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blinking server is ready and not ready for the same time each, until it drains."""
    due: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
    server = Server({}, 1.0)
    monkeypatch.setattr(server, "later", lambda seconds, call, *given: due.append((seconds, call, given)))
    server.blink(2.0)
    states = []
    for _ in range(3):
        seconds, call, given = due.pop()
        call(*given)
        states.append((seconds, server.ready))
    assert states == [(2.0, False), (2.0, True), (2.0, False)]
    server.drain()
    due.clear()
    server._blinked(2.0)
    assert (server.ready, due) == (False, [])


def test_judged_keeps_its_shape() -> None:
    """An outcome without an answerer has none."""
    assert Judged("reached", "[10.0.0.9]").by is None
