"""An exec that goes on, against an API server that is a few lines long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from wsproto.events import BytesMessage, CloseConnection, RejectConnection, RejectData

from meshproof.clusters.conversation import Conversation
from meshproof.clusters.fleet import Cluster
from tests.test_api import Peer, Script, api

__all__ = ["api"]

HANG_SECONDS_MAX = 30.0


@dataclass
class Listener:
    """Keeps what was heard, and lets a test wait for so many lines or for the end."""

    lines: list[bytes] = field(default_factory=list)
    reason: str = ""
    news: threading.Condition = field(default_factory=threading.Condition)

    def heard(self, line: bytes) -> None:
        with self.news:
            self.lines.append(line)
            self.news.notify_all()

    def ended(self, why: str) -> None:
        with self.news:
            self.reason = why
            self.news.notify_all()

    def wait(self, lines: int) -> list[bytes]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.lines) >= lines or self.reason, HANG_SECONDS_MAX)
        return self.lines

    def end(self) -> str:
        with self.news:
            assert self.news.wait_for(lambda: self.reason, HANG_SECONDS_MAX)
        return self.reason


def talk(cluster: Cluster) -> tuple[Conversation, Listener]:
    listener = Listener()
    conversation = Conversation(cluster, "ns", "client-0", "traffic", ["python3", "x"], listener.heard, listener.ended)
    return conversation, listener


def next_line(peer: Peer) -> bytes:
    """What the client says next, with its channel."""
    while True:
        for event in peer.ws.events():
            if isinstance(event, BytesMessage):
                return bytes(event.data)
        peer.ws.receive_data(peer.connection.recv(65536))


def test_lines_go_in_and_come_out(api: Callable[[Script], Cluster]) -> None:
    """What was said before the command ran is delivered; lines come back whole, however they are cut up."""
    said: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.accept()
        said.append(next_line(peer))
        for part in (b"one\ntw", b"o\nthr", b"ee\n"):
            peer.say(1, part)
        said.append(next_line(peer))
        peer.finish()

    conversation, listener = talk(api(script))
    conversation.say(b"1 plan")
    assert listener.wait(3) == [b"one", b"two", b"three"]
    conversation.say(b"2 plan")
    assert listener.end().startswith("the command has ended")
    assert said == [b"\x001 plan\n", b"\x002 plan\n"]
    conversation.say(b"nobody hears this")


def test_the_end_is_told_with_what_the_command_complained_of(api: Callable[[Script], Cluster]) -> None:
    """A connection closed from afar ends it, and stderr says why that may be."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.say(2, b"Traceback: no such file")
        peer.connection.sendall(peer.ws.send(CloseConnection(1000)))

    _, listener = talk(api(script))
    assert listener.end() == "the connection was closed from afar; stderr: 'Traceback: no such file'"


def test_a_refused_conversation_says_what_the_server_said(api: Callable[[Script], Cluster]) -> None:
    """An HTTP error comes through with its status."""

    def script(peer: Peer) -> None:
        answer = peer.ws.send(RejectConnection(status_code=404, headers=[(b"content-length", b"7")], has_body=True))
        peer.connection.sendall(answer + peer.ws.send(RejectData(b"no pod\n")))

    _, listener = talk(api(script))
    assert "404" in listener.end()


def test_it_can_be_closed_from_here(api: Callable[[Script], Cluster]) -> None:
    """Closing ends it soon, whatever the command does."""
    running = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.say(1, b"here\n")
        running.wait(HANG_SECONDS_MAX)

    conversation, listener = talk(api(script))
    listener.wait(1)
    conversation.close()
    assert listener.end() == "it was closed"
    running.set()
