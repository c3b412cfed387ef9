"""The agents' REST client and its mirrors, against a small HTTPS server that wants client certificates."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from meshproof.clusters import rest
from meshproof.clusters.embedded import pki
from meshproof.clusters.rest import Api, ApiError, Mirror, Object

PATH = "/api/v1/pods"
WAIT_SECONDS_MAX = 60.0
HOLD = b"hold"
"""A part of an answer that never comes: the connection stays open until the test ends."""
CUT = b"cut"
"""Here the connection breaks off."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that lost its server asks again sooner than where a real one is to be spared."""
    monkeypatch.setattr(rest, "RECONNECT_SECONDS", 0.1)


@dataclass
class Answer:
    """What the server says to one request; `parts` are sent as one HTTP chunk each."""

    parts: list[bytes]
    status: int = 200


@dataclass
class Server:
    """Answers lists and watches from scripts, in order; the last answer of a script is given again and again."""

    lists: list[Answer] = field(default_factory=list)
    watches: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], bytes, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    api: Api = field(init=False)

    def of(self, kind: str) -> list[dict[str, str]]:
        """The queries of the requests that were watches, or lists."""
        return [query for _, _, query, _, _ in self.seen if ("watch" in query) == (kind == "watch")]

    def next(self, query: dict[str, str]) -> Answer:
        script = self.watches if "watch" in query else self.lists
        return script.pop(0) if len(script) > 1 else script[0]


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[pki.Authority, pki.Pair, pki.Pair]:
    """(authority, server, client)."""
    authority = pki.new_authority(tmp_path_factory.mktemp("tls") / "east", "east")
    return authority, authority.server("server", [], ["127.0.0.1"]), authority.client("user", "user")


@pytest.fixture
def server(credentials: tuple[pki.Authority, pki.Pair, pki.Pair]) -> Iterator[Server]:
    authority, identity, user = credentials
    script = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            address = urlsplit(self.path)
            query = {key: value[0] for key, value in parse_qs(address.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            script.seen.append((self.command, address.path, query, body, self.headers.get("Content-Type", "")))
            answer = script.next(query)
            self.send_response(answer.status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in answer.parts:
                if part == HOLD:
                    script.over.wait()
                if part in (HOLD, CUT):
                    self.close_connection = True
                    return
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_PATCH = do_DELETE = answer  # noqa: N815 - the names are the base class's

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is the base class's
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A refused client is what some tests are about."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    context.load_cert_chain(identity.cert, identity.key)
    context.verify_mode = ssl.CERT_REQUIRED
    http = Quiet(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"https://127.0.0.1:{http.server_address[1]}/"
    script.api = Api(url, str(authority.ca), str(user.cert), str(user.key), seconds=WAIT_SECONDS_MAX)
    yield script
    script.over.set()
    script.api._pool.clear()
    http.shutdown()
    thread.join()
    http.server_close()


def pod(name: str, version: int) -> Object:
    return {"metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version)}}


def listed(version: int, *pods: Object) -> Answer:
    body = {"metadata": {"resourceVersion": str(version)}, "items": list(pods)}
    return Answer([json.dumps(body).encode()])


def told(kind: str, thing: Object) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def gone(status: int = 410) -> bytes:
    return told("ERROR", {"kind": "Status", "code": status, "reason": "Expired", "message": "too old"})


@dataclass
class Listener:
    """Remembers changes as "ADDED a 1" words."""

    words: list[str] = field(default_factory=list)

    def __call__(self, kind: str, thing: Object) -> None:
        metadata = thing.get("metadata", {})
        words = (kind, metadata.get("name", ""), metadata.get("resourceVersion", ""))
        self.words.append(" ".join(word for word in words if word))


@pytest.fixture
def mirrored(server: Server) -> Iterator[Callable[[Callable[[str, Object], None]], Mirror]]:
    """Starts a mirror of the server's pods, and ends it."""
    started: list[Mirror] = []

    def start(listener: Callable[[str, Object], None]) -> Mirror:
        started.append(Mirror(server.api, PATH, {"labelSelector": "a=b"}, listener).start())
        return started[-1]

    yield start
    for mirror in started:
        mirror.stop()
    server.over.set()
    for mirror in started:
        mirror._thread.join(WAIT_SECONDS_MAX)
        assert not mirror._thread.is_alive()


def await_(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(rest.RECONNECT_SECONDS / 25)


def test_a_call_sends_query_and_body_and_returns_the_object(server: Server) -> None:
    """Each verb sends what it was given, a patch with its own content type, and returns the decoded answer."""
    server.lists = [Answer([b'{"kind": ', b'"Pod"}'])]
    assert server.api.get(PATH, fieldSelector="a=b&c") == {"kind": "Pod"}
    server.api.patch(PATH, [{"op": "test"}], kind="json")
    server.api.delete(PATH)
    get, patch, delete = server.seen
    assert get[:3] == ("GET", PATH, {"fieldSelector": "a=b&c"})
    assert (patch[0], json.loads(patch[3]), patch[4]) == ("PATCH", [{"op": "test"}], "application/json-patch+json")
    assert (delete[0], delete[3]) == ("DELETE", b"")


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        (b'{"reason": "NotFound", "message": "no such pod"}', "NotFound", "no such pod"),
        (b"upstream broke", "", "upstream broke"),
        (b'["no", "status"]', "", '["no", "status"]'),
    ],
)
def test_an_error_is_raised_with_what_the_server_said(server: Server, body: bytes, reason: str, message: str) -> None:
    """An error answer is an ApiError with status, reason and message, also when its body is no Status."""
    server.lists = [Answer([body], 404)]
    with pytest.raises(ApiError) as raised:
        server.api.get(PATH)
    assert (raised.value.status, raised.value.reason, raised.value.message) == (404, reason, message)


@pytest.mark.parametrize("parts", [[b"<html>"], [b"[]"], [b'{"items": ', CUT]])
def test_an_answer_that_cannot_be_read_is_an_api_error(server: Server, parts: list[bytes]) -> None:
    """A 200 that is garbage, no object or cut off is an ApiError, which every caller expects."""
    server.lists = [Answer(parts)]
    with pytest.raises(ApiError) as raised:
        server.api.get(PATH)
    assert raised.value.status == 0


def test_a_server_that_is_not_there_is_an_api_error(server: Server, tmp_path: Path) -> None:
    """Nobody at the port: ApiError with status 0, and not ready."""
    authority = pki.new_authority(tmp_path / "ca", "east")
    user = authority.client("user", "user")
    api = Api("https://127.0.0.1:1", str(authority.ca), str(user.cert), str(user.key), seconds=1)
    with pytest.raises(ApiError, match="Unreachable") as raised:
        api.get(PATH)
    assert raised.value.status == 0
    assert not api.ready()


def test_ready_is_the_servers_own_word(server: Server) -> None:
    """Ready is 200 at /readyz, nothing else."""
    server.lists = [Answer([b"ok"]), Answer([b"etcd failed"], 500)]
    assert server.api.ready()
    assert not server.api.ready()
    assert [path for _, path, _, _, _ in server.seen] == ["/readyz", "/readyz"]


@pytest.mark.parametrize("foreign", ["server's authority", "client's authority"])
def test_both_sides_check_the_other(
    server: Server, credentials: tuple[pki.Authority, pki.Pair, pki.Pair], tmp_path: Path, foreign: str
) -> None:
    """Neither a server nor a client of another cluster's authority is accepted."""
    server.lists = [Answer([b"{}"])]
    own, _, user = credentials
    other = pki.new_authority(tmp_path / "west", "west")
    if foreign == "client's authority":
        user = other.client("user", "user")
    ca = other.ca if foreign == "server's authority" else own.ca
    api = Api(server.api._server, str(ca), str(user.cert), str(user.key), seconds=2)
    with pytest.raises(ApiError):
        api.get(PATH)
    assert server.seen == []
    api._pool.clear()


def test_watch_puts_lines_together_from_chunks(server: Server) -> None:
    """Events may be cut anywhere and several may come at once; an unfinished last line is no event."""
    whole = told("ADDED", pod("a", 2)) + told("DELETED", pod("b", 3))
    server.watches = [Answer([whole[:10], whole[10:-5], whole[-5:] + b"\n" + whole[:7]])]
    events = list(server.api.watch(PATH, "1", labelSelector="a=b"))
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "a"),
        ("DELETED", "b"),
    ]
    [query] = server.of("watch")
    assert (query["resourceVersion"], query["labelSelector"], query["allowWatchBookmarks"]) == ("1", "a=b", "true")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer([gone()]), 410),
        (Answer([b'{"reason": "Expired", "message": "too old"}'], 410), 410),
        (Answer([b"garbage\n"]), 0),
        (Answer([told("ADDED", pod("a", 2)), CUT]), 0),
    ],
)
def test_watch_raises_what_ended_it(server: Server, answer: Answer, status: int) -> None:
    """An ERROR event, an error answer, garbage and a broken connection each end a watch with an ApiError."""
    server.watches = [answer]
    with pytest.raises(ApiError) as raised:
        list(server.api.watch(PATH, "1"))
    assert raised.value.status == status


Start = Callable[[Callable[[str, Object], None]], Mirror]


def test_a_mirror_follows_the_server(server: Server, mirrored: Start) -> None:
    """The copy is the list plus every event after it, and each change is told once, in order."""
    server.lists = [listed(5, pod("a", 1), pod("b", 2))]
    events = [told("MODIFIED", pod("a", 6)), told("DELETED", pod("b", 7)), told("ADDED", pod("c", 8))]
    server.watches = [Answer([*events, HOLD])]
    listener = Listener()
    mirror = mirrored(listener)
    await_(lambda: len(listener.words) == 6)
    assert listener.words == ["ADDED a 1", "ADDED b 2", "SYNCED", "MODIFIED a 6", "DELETED b 7", "ADDED c 8"]
    assert mirror.synced.is_set()
    assert sorted(mirror.snapshot()) == [("ns", "a"), ("ns", "c")]
    assert server.of("watch")[0]["resourceVersion"] == "5"


def test_a_watch_that_ends_is_resumed_where_it_was(server: Server, mirrored: Start) -> None:
    """After a watch's ordinary end the next starts at the last version, a bookmark's too, without a new list."""
    server.lists = [listed(5)]
    first = Answer([told("ADDED", pod("a", 6)), told("BOOKMARK", {"metadata": {"resourceVersion": "9"}})])
    server.watches = [first, Answer([told("ADDED", pod("b", 10)), HOLD])]
    listener = Listener()
    mirrored(listener)
    await_(lambda: "ADDED b 10" in listener.words)
    assert [query["resourceVersion"] for query in server.of("watch")] == ["5", "9"]
    assert len(server.of("list")) == 1
    assert listener.words == ["SYNCED", "ADDED a 6", "ADDED b 10"]


def test_a_version_that_is_too_old_means_a_new_list(server: Server, mirrored: Start) -> None:
    """After 410 everything is listed anew, and exactly the differences are told."""
    server.lists = [
        listed(5, pod("a", 1), pod("b", 2), pod("c", 3)),
        listed(20, pod("a", 1), pod("b", 12), pod("d", 4)),
    ]
    server.watches = [Answer([gone()]), Answer([HOLD])]
    listener = Listener()
    mirror = mirrored(listener)
    await_(lambda: listener.words.count("SYNCED") == 2)
    assert sorted(listener.words[4:]) == ["ADDED d 4", "DELETED c 3", "MODIFIED b 12", "SYNCED"]
    assert sorted(name for _, name in mirror.snapshot()) == ["a", "b", "d"]
    await_(lambda: len(server.of("watch")) == 2)
    assert server.of("watch")[1]["resourceVersion"] == "20"


def test_a_server_that_is_away_keeps_the_last_copy(server: Server, mirrored: Start) -> None:
    """While the server breaks off or answers with errors nothing is told; when it is back, what was missed is."""
    unwell = Answer([b"no leader"], 500)
    server.lists = [listed(5, pod("a", 1)), unwell, Answer([b"<html>"])]
    server.watches = [Answer([CUT]), Answer([HOLD])]
    listener = Listener()
    mirror = mirrored(listener)
    await_(lambda: len(server.of("list")) == 2)
    assert [name for _, name in mirror.snapshot()] == ["a"]
    server.lists.append(listed(9, pod("b", 7)))
    await_(lambda: listener.words.count("SYNCED") == 2)
    assert listener.words == ["ADDED a 1", "SYNCED", "ADDED b 7", "DELETED a 1", "SYNCED"]


def test_what_a_listener_could_not_take_is_told_again(
    server: Server, mirrored: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A listener that raises neither ends the mirror nor loses the change; the traceback is shown."""
    monkeypatch.setattr(rest, "TELL_AGAIN_SECONDS", 0.01)
    after = [pod("b", 2), pod("c", 7)]
    server.lists = [listed(5, pod("a", 1), pod("b", 2)), listed(8, *after), listed(8, *after)]
    server.watches = [Answer([told("DELETED", pod("a", 6)), HOLD]), Answer([HOLD])]
    listener = Listener()
    refused = {"ADDED b 2", "DELETED a 1", "ADDED c 7"}

    def moody(kind: str, thing: Object) -> None:
        listener(kind, thing)
        if listener.words[-1] in refused:
            refused.remove(listener.words[-1])
            raise RuntimeError(f"no {listener.words[-1]} today")

    mirror = mirrored(moody)
    await_(lambda: not refused and listener.words.count("SYNCED") == 3)
    assert {word: listener.words.count(word) for word in ("ADDED a 1", "ADDED b 2", "DELETED a 1", "ADDED c 7")} == {
        "ADDED a 1": 1,
        "ADDED b 2": 2,
        "DELETED a 1": 2,
        "ADDED c 7": 2,
    }
    assert sorted(name for _, name in mirror.snapshot()) == ["b", "c"]
    assert "no ADDED b 2 today" in capsys.readouterr().err


def test_a_server_that_ends_watches_at_once_is_not_hammered(server: Server, mirrored: Start) -> None:
    """Watches that end at once are asked for at the pace of the reconnect pause, not as fast as the network goes."""
    server.lists = [listed(5)]
    server.watches = [Answer([])]
    began = time.monotonic()
    mirrored(Listener())
    await_(lambda: len(server.of("watch")) == 3)
    assert time.monotonic() - began >= 2 * rest.RECONNECT_SECONDS
