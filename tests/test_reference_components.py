"""Exporter and agent as they run, over loopback TLS, with an API server of a few lines and no kernel."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from meshproof.clusters.embedded import pki
from meshproof.clusters.meshes.reference.agent import Agent, Kernel
from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.exporter import Exporter
from meshproof.clusters.meshes.reference.link import Exporter as PeerExporter
from meshproof.clusters.meshes.reference.memory import Memory
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.records import Member
from meshproof.clusters.meshes.reference.ruleset import Ruleset
from meshproof.clusters.meshes.reference.serving import Board, Server, Tls
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Doorbell, Outlook
from meshproof.clusters.rest import Api

SECONDS = 8.0
POLL_SECONDS = 0.005
SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
NAMESPACES, CONFIG = "/api/v1/namespaces", "/api/v1/namespaces/kube-system/configmaps"


class ApiServer:
    """Lists, watches and merge patches of whole objects, at the seam of `rest.Api`."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = threading.Event()
        if answers:
            self.answers.set()
        self.status: dict[str, Any] = {}
        self._items: dict[str, dict[str, Any]] = {path: {} for path in (SERVICES, SLICES, NAMESPACES, CONFIG)}
        self._events: dict[str, queue.Queue[Any]] = {path: queue.Queue() for path in self._items}

    def set(self, path: str, name: str, **thing: Any) -> None:
        self._items[path][name] = thing
        self._events[path].put({"type": "MODIFIED", "object": thing})

    def get(self, path: str, **_query: str) -> Any:
        self.answers.wait(SECONDS)
        return {"metadata": {"resourceVersion": "1"}, "items": list(self._items[path].values())}

    def watch(self, path: str, _version: str, **_query: str) -> Iterator[Any]:
        while True:
            yield self._events[path].get()

    def patch(self, _path: str, body: Any, kind: str) -> None:
        assert kind == "merge"
        self.status.update({component: json.loads(text) for component, text in body["data"].items()})

    def have_echo(self, pod: str, **annotations: str) -> None:
        """A global service with one ready pod."""
        metadata = {"namespace": "shop", "name": "echo", "resourceVersion": "2"}
        every = {"service.cilium.io/global": "true", **{f"service.cilium.io/{k}": v for k, v in annotations.items()}}
        ports = [{"name": "http", "port": 80}]
        self.set(
            SERVICES,
            "echo",
            metadata={**metadata, "annotations": every},
            spec={"clusterIP": "172.20.0.9", "ports": ports},
        )
        self.set(
            SLICES,
            "echo",
            metadata={**metadata, "labels": {"kubernetes.io/service-name": "echo"}},
            addressType="IPv4",
            ports=[{"name": "http", "port": 8080}],
            endpoints=[{"addresses": [pod], "conditions": {"ready": True}}],
        )

    def ask_for(self, *defects: str) -> None:
        metadata = {"namespace": "kube-system", "name": "reference-mesh-config", "resourceVersion": "2"}
        self.set(CONFIG, "reference-mesh-config", metadata=metadata, data={"defects": ",".join(defects)})


class Rules:
    """A kernel that only remembers which addresses were balanced last."""

    def __init__(self, *, adopted: bool = False) -> None:
        self.adopted = adopted
        self.backends: set[str] | None = None
        self.written: list[set[str]] = []

    def apply(self, frontends: Sequence[Frontend], _ruleset: Ruleset) -> bool:
        before, self.backends = self.backends, {address for frontend in frontends for address, _ in frontend.backends}
        self.written.append(self.backends)
        return before != self.backends


def start_exporter(server: ApiServer, member: Member, tls: Tls) -> int:
    """The port on which an exporter of that cluster listens."""
    api, bell, board = cast(Api, server), Doorbell(), Board()
    reporter = Reporter(api, "exporter")
    exporter = Exporter(member, Outlook(api, bell), bell, board, reporter)
    Toggle(api, exporter, reporter)
    threading.Thread(target=exporter.run, daemon=True).start()
    return Server(member, board, tls, "127.0.0.1", 0).port


def start_agent(server: ApiServer, rules: Rules, memory: Path, peers: dict[Member, PeerExporter]) -> None:
    api, bell = cast(Api, server), Doorbell()
    reporter = Reporter(api, "agent-east-1")
    agent = Agent(Outlook(api, bell), bell, Memory(memory), reporter, cast(Kernel, rules))
    agent.join(peers)
    Toggle(api, agent, reporter)
    threading.Thread(target=agent.run, daemon=True).start()


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(POLL_SECONDS)


def identity(authority: pki.Authority, cluster: str) -> Tls:
    pair = authority.server(cluster, [f"{cluster}.mesh.meshproof"], ["127.0.0.1"])
    return Tls(str(authority.ca), str(pair.cert), str(pair.key))


def test_the_mesh_from_api_server_to_rules_and_its_defects(tmp_path: Path) -> None:
    """A peer's pods reach the rules and leave them; each defect is seen there, acknowledged, and heals."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")
    east, west, rules = ApiServer(), ApiServer(), Rules()
    east.have_echo("10.1.0.1")
    west.have_echo("10.2.0.1")
    port = start_exporter(west, Member("west", 2), identity(authority, "west"))
    peer = PeerExporter("west", "127.0.0.1", port, identity(authority, "east"))
    start_agent(east, rules, tmp_path / "known", {Member("west", 2): peer})
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})

    west.have_echo("10.2.0.1", shared="false")
    eventually(lambda: rules.backends == {"10.1.0.1"})
    west.ask_for("shared_ignored")
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})
    eventually(lambda: west.status["exporter"]["defects"] == ["shared_ignored"])
    west.ask_for()
    eventually(lambda: rules.backends == {"10.1.0.1"})

    east.ask_for("additions_never_arrive")
    eventually(lambda: east.status.get("agent-east-1", {}).get("defects") == ["additions_never_arrive"])
    west.have_echo("10.2.0.1")
    east.have_echo("10.1.0.2")
    eventually(lambda: rules.backends == {"10.1.0.2"})
    east.ask_for()
    eventually(lambda: rules.backends == {"10.1.0.2", "10.2.0.1"})

    east.ask_for("no_such_defect")
    eventually(lambda: "no_such_defect" in east.status["agent-east-1"]["error"])
    assert east.status["agent-east-1"]["defects"] == []
    assert east.status["agent-east-1"]["peers"]["west"]["synced"]


def test_an_exporter_whose_api_server_is_silent_withdraws_nothing(tmp_path: Path) -> None:
    """A restarted exporter that has not seen its cluster yet leaves its peers what they had, and status says so."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")
    east, west, rules = ApiServer(), ApiServer(answers=False), Rules()
    east.have_echo("10.1.0.1")
    west.have_echo("10.2.0.1")
    port = start_exporter(west, Member("west", 2), identity(authority, "west"))
    peer = PeerExporter("west", "127.0.0.1", port, identity(authority, "east"))
    record = {"cluster": "west", "id": 2, "namespace": "shop", "name": "echo", "ports": []}
    held = {**record, "backends": {"10.2.0.9": {"http": ["TCP", 8080]}}}
    (tmp_path / "known").write_text(json.dumps({"west": [held]}))
    start_agent(east, rules, tmp_path / "known", {Member("west", 2): peer})

    def said() -> Any:
        return east.status.get("agent-east-1", {}).get("peers", {}).get("west", {})

    eventually(lambda: said().get("connected"))
    assert not said()["synced"]
    assert rules.backends == {"10.1.0.1", "10.2.0.9"}
    west.answers.set()
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})


def test_a_table_found_at_start_waits_for_peers_nobody_remembers(tmp_path: Path) -> None:
    """With a predecessor's table and no memory of a peer nothing is written before that peer has synced."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")
    east, west, rules = ApiServer(), ApiServer(answers=False), Rules(adopted=True)
    east.have_echo("10.1.0.1")
    west.have_echo("10.2.0.1")
    port = start_exporter(west, Member("west", 2), identity(authority, "west"))
    peer = PeerExporter("west", "127.0.0.1", port, identity(authority, "east"))
    start_agent(east, rules, tmp_path / "known", {Member("west", 2): peer})
    eventually(lambda: "agent-east-1" in east.status)
    west.answers.set()
    eventually(lambda: rules.written)
    assert rules.written[0] == {"10.1.0.1", "10.2.0.1"}
