"""The reference mesh between clusters: the stream, what survives its breaking, and the live defects."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.embedded import pki
from meshproof.clusters.meshes.reference import link as link_module
from meshproof.clusters.meshes.reference import serving
from meshproof.clusters.meshes.reference.defects import UnknownDefect, every, named, wrapped
from meshproof.clusters.meshes.reference.feed import PeerRefused, PeerState, feed
from meshproof.clusters.meshes.reference.link import Dial, Exporter, Link, revoke
from meshproof.clusters.meshes.reference.memory import Memory
from meshproof.clusters.meshes.reference.records import Key, Member, Port, Record, RecordRefused, encode
from meshproof.clusters.meshes.reference.selection import GLOBAL, SHARED
from meshproof.clusters.meshes.reference.serving import Board, Server, Tls, batches
from meshproof.clusters.meshes.reference.world import Endpoint, Service

WEST = Member("west", 2)
HELLO = {"op": "hello", "cluster": "west", "id": 2}
SECONDS = 60.0
POLL_SECONDS = 0.005


def record(name: str, *addresses: str, member: Member = WEST) -> Record:
    backends = {address: {"http": ("TCP", 8080)} for address in addresses}
    return Record(member, "shop", name, (Port("http", "TCP", 80),), backends)


def put(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": "put", "record": encode(record(*args, **kwargs))}


def board_of(*records: Record) -> dict[Key, Record]:
    return {entry.key: entry for entry in records}


def told(state: PeerState, *lines: Any, by: Any = feed) -> dict[str, set[str]]:
    """What `state` holds after these lines: service name -> addresses."""
    for line in lines:
        state.take(line, by)
    return {name: set(held.backends) for (_, name), held in state.records.items()}


def spoken(board: Board) -> Iterator[list[Any]]:
    """What a client of `board` is told, decoded."""
    return ([json.loads(line) for line in batch] for batch in batches(WEST, board))


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds, at most a minute."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(POLL_SECONDS)


def test_what_a_peer_no_longer_names_goes_only_after_synced() -> None:
    """During a re-sync everything held stays; what was not named again goes when the peer is synced."""
    state = PeerState(WEST)
    told(state, HELLO, put("a", "10.2.0.1"), put("b", "10.2.0.2"), {"op": "synced"})
    state.begin()
    assert told(state, HELLO, put("b", "10.2.0.3")) == {"a": {"10.2.0.1"}, "b": {"10.2.0.3"}}
    assert told(state, {"op": "synced"}) == {"b": {"10.2.0.3"}}


def test_a_delete_removes_one_service() -> None:
    """A delete takes exactly the service it names."""
    state = PeerState(WEST)
    told(state, HELLO, put("a", "10.2.0.1"), put("b", "10.2.0.2"), {"op": "synced"})
    assert told(state, {"op": "delete", "namespace": "shop", "name": "a"}) == {"b": {"10.2.0.2"}}


@pytest.mark.parametrize("member", [Member("north", 2), Member("west", 3)])
def test_a_record_of_another_cluster_is_refused(member: Member) -> None:
    """A peer speaks only for itself: another name or id is not taken, and the stream goes on."""
    state = PeerState(WEST)
    with pytest.raises(RecordRefused):
        told(state, HELLO, put("a", "10.2.0.1", member=member))
    assert told(state, put("b", "10.2.0.2")) == {"b": {"10.2.0.2"}}


@pytest.mark.parametrize("line", [{**HELLO, "id": 3}, {**HELLO, "cluster": "east"}, {"op": "synced"}, [], {"op": "?"}])
def test_a_peer_that_is_not_the_one_we_dialled_is_refused(line: Any) -> None:
    """The first line must be the hello of the expected cluster, under its name and id."""
    with pytest.raises(PeerRefused):
        PeerState(WEST).take(line, feed)


def test_an_exporter_that_knows_nothing_says_nothing() -> None:
    """Until the first publication there are only hello and heartbeats: an empty world is never announced."""
    board = Board()
    said = spoken(board)
    assert next(said) == [HELLO]
    board.publish({})
    assert next(said) == [{"op": "synced"}]


def test_only_differences_are_told() -> None:
    """After the sync a client hears of what changed, as one batch."""
    board = Board()
    board.publish(board_of(record("a", "10.2.0.1"), record("b", "10.2.0.2")))
    said = spoken(board)
    next(said), next(said)
    board.publish(board_of(record("b", "10.2.0.3")))
    delete = {"op": "delete", "cluster": "west", "id": 2, "namespace": "shop", "name": "a"}
    assert next(said) == [put("b", "10.2.0.3"), delete]


@pytest.fixture
def identities(tmp_path: Path) -> Callable[[str], Tls]:
    """TLS identities of members of one mesh, by cluster name."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")

    def identity(cluster: str) -> Tls:
        pair = authority.server(cluster, [f"{cluster}.mesh.meshproof"], ["127.0.0.1"])
        return Tls(str(authority.ca), str(pair.cert), str(pair.key))

    return identity


@contextlib.contextmanager
def served(board: Board, tls: Tls, port: int = 0) -> Iterator[int]:
    server = Server(WEST, board, tls, "127.0.0.1", port)
    try:
        yield server.port
    finally:
        server.close()


def test_a_change_travels_over_mutual_tls(identities: Callable[[str], Tls], monkeypatch: pytest.MonkeyPatch) -> None:
    """A published record is told to the peer's agent at once, not with the next heartbeat, and so is its removal."""
    monkeypatch.setattr(serving, "SECONDS_BETWEEN_HEARTBEATS", 60 * SECONDS)
    monkeypatch.setattr(link_module, "SECONDS_OF_SILENCE", 180 * SECONDS)
    board, rung = Board(), threading.Event()
    with served(board, identities("west")) as port:
        state = PeerState(WEST)
        link = Link(state, Exporter("west", "127.0.0.1", port, identities("east")).dial, lambda: feed, rung.set)
        eventually(link.connected)
        assert not state.synced
        board.publish({})
        eventually(lambda: state.synced)
        board.publish(board_of(record("a", "10.2.0.1")))
        eventually(lambda: bool(state.records))
        board.publish({})
        eventually(lambda: not state.records)
        assert rung.is_set()
        assert link.resync() == 1
        board.publish(board_of(record("a", "10.2.0.1")))  # a link looks up with the next line
        eventually(lambda: link.done == 1)
        link.stop()


@pytest.mark.parametrize("who", ["another cluster's name", "another authority", "no certificate"])
def test_a_stranger_gets_nothing(who: str, identities: Callable[[str], Tls], tmp_path: Path) -> None:
    """A server with another cluster's certificate, another authority's member and a client without one are refused."""
    board = Board()
    board.publish(board_of(record("a", "10.2.0.1")))
    name, tls = "west", identities("east")
    if who == "another cluster's name":
        name = "north"
    elif who == "another authority":
        other = pki.new_authority(tmp_path / "other", "other")
        pair = other.server("east", ["east.mesh.meshproof"], [])
        tls = replace(tls, cert=str(pair.cert), key=str(pair.key))
    with served(board, identities("west")) as port:
        dial: Dial = Exporter(name, "127.0.0.1", port, tls).dial
        if who == "no certificate":
            dial = without_certificate(port, tls)
        with pytest.raises(ssl.SSLError), dial() as lines:
            next(lines)


def without_certificate(port: int, tls: Tls) -> Dial:
    """Dials as an agent does, but shows no certificate."""

    @contextlib.contextmanager
    def dial() -> Iterator[Iterator[bytes]]:
        context = ssl.create_default_context(cafile=tls.ca)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="west.mesh.meshproof") as secure,
        ):
            secure.sendall(b"GET /v1/records HTTP/1.1\r\n\r\n")
            yield iter([secure.recv(100)])

    return dial


def test_a_lost_peer_keeps_what_it_said_and_is_found_again() -> None:
    """While an exporter is away its records stay; its successor is dialled within about a second and heard whole."""
    streams: queue.Queue[list[bytes]] = queue.Queue()

    @contextlib.contextmanager
    def dial() -> Iterator[Iterator[bytes]]:
        try:
            lines = streams.get(timeout=0.01)
        except queue.Empty:
            raise ConnectionRefusedError from None
        yield iter(lines)

    state = PeerState(WEST)
    link = Link(state, dial, lambda: feed, lambda: None)
    hello = b'{"op":"hello","cluster":"west","id":2}'
    streams.put([hello, json.dumps(put("a", "10.2.0.1")).encode(), b'{"op":"synced"}'])
    eventually(lambda: bool(state.records) and not link.connected())
    streams.put([hello, b'{"op":"synced"}'])
    eventually(lambda: not state.records)
    link.stop()


def test_a_peer_that_is_away_too_long_is_revoked_until_it_comes_back() -> None:
    """With a TTL a lost peer's records count no more once it is over, and all return with the peer; 0 is for ever."""
    streams: queue.Queue[list[bytes]] = queue.Queue()

    @contextlib.contextmanager
    def dial() -> Iterator[Iterator[bytes]]:
        try:
            lines = streams.get(timeout=0.01)
        except queue.Empty:
            raise ConnectionRefusedError from None
        yield iter(lines)

    link = Link(PeerState(WEST), dial, lambda: feed, lambda: None)
    whole = [json.dumps(line).encode() for line in (HELLO, put("a", "10.2.0.1"), {"op": "synced"})]
    streams.put(whole)
    eventually(lambda: bool(link.records()) and not link.connected())
    link.lapse(lambda away: revoke(away, 0.0))
    link.lapse(lambda away: revoke(away, 60.0))
    assert link.records()
    link.lapse(lambda away: revoke(away, 1e-9))
    assert not link.records()
    assert link.status().services == 0
    assert link.certain()
    streams.put(whole[:1])
    eventually(streams.empty)
    eventually(lambda: not link.connected())
    assert not link.records()
    streams.put(whole)
    eventually(lambda: bool(link.records()))
    link.stop()


def test_memory_is_a_journal(tmp_path: Path) -> None:
    """A change appends a line; a torn last line is as if never written; a successor begins with a short file."""
    path, north = tmp_path / "known", Member("north", 3)
    memory = Memory(path)
    one, two = board_of(record("a", "10.2.0.1")), board_of(record("a", "10.2.0.2"), record("b", "10.2.0.3"))
    for held in (one, two, {}, two):
        memory.keep({"west": held, "north": {}})
        assert Memory(path).recall([WEST, north]) == {"west": held, "north": {}}
    written = path.read_text()
    path.write_text(written[:-5])
    assert Memory(path).recall([WEST])["west"].keys() == {("shop", "a")}
    path.write_text(written)
    successor = Memory(path)
    successor.keep({"west": two, "north": {}})
    assert len(path.read_text().splitlines()) == 4 < len(written.splitlines())
    path.unlink()
    with pytest.raises(OSError, match="known"):
        successor.keep({"west": one, "north": {}})
    successor.keep({"west": one, "north": {}})
    assert Memory(path).recall([WEST])["west"] == one


def test_memory_outlives_its_process_and_never_mixes_clusters(tmp_path: Path) -> None:
    """What one agent kept its successor recalls, but not for a peer whose id changed, nor from a broken file."""
    path = tmp_path / "known"
    held = board_of(record("a", "10.2.0.1"))
    Memory(path).keep({"west": held})
    assert path.stat().st_mode & 0o777 == 0o600
    assert Memory(path).recall([WEST, Member("north", 3)]) == {"west": held}
    assert Memory(path).recall([Member("west", 9)]) == {}
    path.write_text("{")
    assert Memory(path).recall([WEST]) == {}
    assert Memory(tmp_path / "none").recall([WEST]) == {}


def test_every_defect_says_what_it_is() -> None:
    """A defect is named as its file, and says what it models and which expectation must notice it."""
    assert "shared_ignored" in {defect.name for defect in every()}
    for defect in every():
        assert defect.models
        assert defect.requirement
        assert defect.expectation
        assert wrapped([defect]) != wrapped([])
    with pytest.raises(UnknownDefect, match="no_such"):
        named(["no_such"])


def test_shared_ignored_shares_what_is_not_shared() -> None:
    """With the defect an unshared global service is exported all the same; one that is not global still is not."""
    sick, healthy = wrapped(named(["shared_ignored"])), wrapped([])
    pods = (Endpoint("10.2.0.1", {"http": ("TCP", 8080)}, ready=True),)
    for keys in zip(GLOBAL, SHARED, strict=True):
        for is_global in ("true", "false"):
            annotations = dict(zip(keys, (is_global, "false"), strict=True))
            service = Service("shop", "echo", "172.20.0.10", (Port("http", "TCP", 80),), annotations)
            assert healthy.select(WEST, service, pods, {}) is None
            assert bool(sick.select(WEST, service, pods, {})) is (is_global == "true")
