"""Exporter and agent as they run, over loopback TLS, with an API server of a few lines and no kernel."""

from __future__ import annotations

import builtins
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from meshproof.clusters.embedded import pki
from meshproof.clusters.meshes.reference import agent as agent_module
from meshproof.clusters.meshes.reference import serving, status
from meshproof.clusters.meshes.reference.agent import Agent, Kernel
from meshproof.clusters.meshes.reference.defects import Defect, live
from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.exporter import Exporter
from meshproof.clusters.meshes.reference.feed import Delete
from meshproof.clusters.meshes.reference.link import Exporter as PeerExporter
from meshproof.clusters.meshes.reference.memory import Memory
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.naming import Zone
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.records import Member
from meshproof.clusters.meshes.reference.ruleset import Ruleset
from meshproof.clusters.meshes.reference.serving import Board, Server, Tls
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Doorbell, Outlook
from meshproof.clusters.rest import Api

SECONDS = 60.0
POLL_SECONDS = 0.005
SERVICES, SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
NAMESPACES, CONFIG = "/api/v1/namespaces", "/api/v1/namespaces/kube-system/configmaps"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses are written, agents look round and exporters speak sooner than where a processor is to be spared."""
    monkeypatch.setattr(serving, "SECONDS_BETWEEN_HEARTBEATS", 0.1)
    monkeypatch.setattr(status, "SECONDS_BETWEEN_WRITES", 0.01)
    monkeypatch.setattr(agent_module, "SECONDS_WITHOUT_VISIT_MAX", 0.1)


class ApiServer:
    """Lists, watches and merge patches of whole objects, at the seam of `rest.Api`."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = threading.Event()
        if answers:
            self.answers.set()
        self.status: dict[str, Any] = {}
        self._items: dict[str, dict[str, Any]] = {path: {} for path in (SERVICES, SLICES, NAMESPACES, CONFIG)}
        self._events: dict[str, list[Any]] = {path: [] for path in self._items}
        self._changed = threading.Condition()

    def set(self, path: str, name: str, **thing: Any) -> None:
        with self._changed:
            self._items[path][name] = thing
            self._tell(path, "MODIFIED", thing)

    def _tell(self, path: str, kind: str, thing: Any) -> None:
        self._events[path].append({"type": kind, "object": thing})
        self._changed.notify_all()

    def get(self, path: str, **_query: str) -> Any:
        self.answers.wait(SECONDS)
        with self._changed:
            version = str(len(self._events[path]))
            return {"metadata": {"resourceVersion": version}, "items": list(self._items[path].values())}

    def watch(self, path: str, version: str, **_query: str) -> Iterator[Any]:
        told = int(version)
        while True:
            with self._changed:
                while len(self._events[path]) <= told:
                    self._changed.wait()
                event = self._events[path][told]
            told += 1
            yield event

    def post(self, path: str, body: Any) -> None:
        assert path == "/api/v1/namespaces/fleet-services/services"
        spec = {**body["spec"], "clusterIP": "172.20.0.99"}
        metadata = {**body["metadata"], "resourceVersion": "3"}
        self.set(SERVICES, body["metadata"]["name"], metadata=metadata, spec=spec)

    def delete(self, path: str) -> None:
        with self._changed:
            if thing := self._items[SERVICES].pop(path.rpartition("/")[2], None):
                self._tell(SERVICES, "DELETED", thing)

    def names(self) -> builtins.set[str]:
        return set(self._items[SERVICES])

    def patch(self, _path: str, body: Any, kind: str) -> None:
        assert kind == "merge"
        self.status.update({component: json.loads(text) for component, text in body["data"].items()})

    def have_echo(self, pod: str, *, exported: bool = False, **annotations: str) -> None:
        """A global service with one ready pod."""
        metadata = {"namespace": "shop", "name": "echo", "resourceVersion": "2"}
        every = {"service.cilium.io/global": "true", **{f"service.cilium.io/{k}": v for k, v in annotations.items()}}
        every |= {"fleet.azure.com/exported": "true"} if exported else {}
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
        self.configure(defects=",".join(defects))

    def configure(self, **data: str) -> None:
        metadata = {"namespace": "kube-system", "name": "reference-mesh-config", "resourceVersion": "2"}
        said = {key.replace("_", "-"): value for key, value in data.items()}
        self.set(CONFIG, "reference-mesh-config", metadata=metadata, data=said)


class Rules:
    """A kernel that only remembers which addresses were balanced last."""

    def __init__(self, *, adopted: bool = False) -> None:
        self.adopted = adopted
        self.backends: set[str] | None = None
        self.written: list[set[str]] = []

    def apply(self, frontends: Sequence[Frontend], _ruleset: Ruleset, _forget: Any) -> bool:
        before, self.backends = self.backends, {address for frontend in frontends for address, _ in frontend.backends}
        self.written.append(self.backends)
        return before != self.backends


def start_exporter(server: ApiServer, member: Member, tls: Tls, peers: dict[Member, PeerExporter] | None = None) -> int:
    """The port on which an exporter of that cluster listens."""
    api, bell, board = cast(Api, server), Doorbell(), Board()
    reporter, outlook = Reporter(api, "exporter"), Outlook(api, bell)
    exporter = Exporter(member, outlook, bell, board, reporter, Zone(api))
    exporter.join(peers or {})
    Toggle(outlook, exporter, reporter)
    threading.Thread(target=exporter.run, daemon=True).start()
    return Server(member, board, tls, "127.0.0.1", 0).port


def start_agent(server: ApiServer, rules: Rules, memory: Path, peers: dict[Member, PeerExporter]) -> None:
    api, bell = cast(Api, server), Doorbell()
    reporter = Reporter(api, "agent-east-1")
    outlook, here = Outlook(api, bell), Site("east", "east-1")
    agent = Agent(here, outlook, bell, Memory(memory), reporter, cast(Kernel, rules))
    agent.join(peers)
    Toggle(outlook, agent, reporter)
    threading.Thread(target=agent.run, daemon=True).start()


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(POLL_SECONDS)


def identity(authority: pki.Authority, cluster: str) -> Tls:
    pair = authority.server(cluster, [f"{cluster}.mesh.meshproof"], ["127.0.0.1"])
    return Tls(str(authority.ca), str(pair.cert), str(pair.key))


def deaf(healthy: Pipeline) -> Pipeline:
    """An agent that hears of nothing new."""
    return replace(healthy, feed=lambda event, held: event if isinstance(event, Delete) else None)


def test_the_mesh_from_api_server_to_rules_and_its_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    with monkeypatch.context() as patch:
        patch.setattr(live, "named", lambda names: tuple(Defect(name, "", "", "", (), deaf) for name in names))
        east.ask_for("deaf")
        eventually(lambda: east.status.get("agent-east-1", {}).get("defects") == ["deaf"])
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
    (tmp_path / "known").write_text(json.dumps({"peer": "west", "put": held}) + "\n")
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


def test_an_exported_service_gets_a_name_in_a_member_that_has_none(tmp_path: Path) -> None:
    """A peer's exported service is dialled by a Service of the mesh's own, which goes when it is no longer exported."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")
    east, west, rules = ApiServer(), ApiServer(), Rules()
    west.have_echo("10.2.0.1", exported=True)
    port = start_exporter(west, Member("west", 2), identity(authority, "west"))
    peers = {Member("west", 2): PeerExporter("west", "127.0.0.1", port, identity(authority, "east"))}
    start_exporter(east, Member("east", 1), identity(authority, "east"), peers)
    start_agent(east, rules, tmp_path / "known", peers)
    eventually(lambda: rules.backends == {"10.2.0.1"})
    assert east.names() == {"echo--shop"}
    eventually(lambda: west.names() == {"echo", "echo--shop"})
    west.have_echo("10.2.0.1")
    eventually(lambda: east.names() == set() and rules.backends == set())
    eventually(lambda: west.names() == {"echo"})


def test_the_gate_follows_the_settings_while_the_mesh_runs(tmp_path: Path) -> None:
    """A closed default takes silent namespaces out of the mesh on both sides, and an open one lets them in again."""
    authority = pki.new_authority(tmp_path / "mesh", "mesh")
    east, west, rules = ApiServer(), ApiServer(), Rules()
    east.have_echo("10.1.0.1")
    west.have_echo("10.2.0.1")
    port = start_exporter(west, Member("west", 2), identity(authority, "west"))
    peers = {Member("west", 2): PeerExporter("west", "127.0.0.1", port, identity(authority, "east"))}
    start_agent(east, rules, tmp_path / "known", peers)
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})
    for cluster in (east, west):
        cluster.configure(clustermesh_default_global_namespace="false")
        eventually(lambda: rules.backends == {"10.1.0.1"})
        cluster.configure(clustermesh_default_global_namespace="true")
        eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})
    east.configure(clustermesh_default_global_namespace="false")
    east.set(NAMESPACES, "shop", metadata={"name": "shop", "annotations": {"clustermesh.cilium.io/global": "true"}})
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.1"})
    settings = {"clustermesh-default-global-namespace": "false", "clustermesh-cache-ttl": "0s"}
    eventually(lambda: east.status["agent-east-1"]["settings"] == settings)


class Unreachable:
    """A peer whose address swallows every packet."""

    def dial(self) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        threading.Event().wait()
        raise TimeoutError


def test_a_peer_that_never_comes_back_is_revoked_by_the_ttl_alone(tmp_path: Path) -> None:
    """What is remembered of a peer nobody can reach is used for ever, until a TTL is set and over."""
    east, rules = ApiServer(), Rules()
    east.have_echo("10.1.0.1")
    record = {"cluster": "west", "id": 2, "namespace": "shop", "name": "echo", "ports": []}
    held = {**record, "backends": {"10.2.0.9": {"http": ["TCP", 8080]}}}
    (tmp_path / "known").write_text(json.dumps({"peer": "west", "put": held}) + "\n")
    start_agent(east, rules, tmp_path / "known", {Member("west", 2): cast(PeerExporter, Unreachable())})
    eventually(lambda: rules.backends == {"10.1.0.1", "10.2.0.9"})
    east.configure(clustermesh_cache_ttl="10ms")
    eventually(lambda: rules.backends == {"10.1.0.1"})
    east.configure()
    eventually(lambda: east.status["agent-east-1"]["settings"].get("clustermesh-cache-ttl") == "0s")
    assert rules.backends == {"10.1.0.1"}
    assert "10.2.0.9" not in (tmp_path / "known").read_text().splitlines()[-1]


def test_an_object_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    """It stays as it was before, others go on changing, and the status tells of it until it can be read again."""
    east, rules = ApiServer(), Rules()
    east.have_echo("10.1.0.1")
    start_agent(east, rules, tmp_path / "known", {})
    eventually(lambda: rules.backends == {"10.1.0.1"})
    east.set(SERVICES, "odd", metadata={"namespace": "shop", "name": "odd", "resourceVersion": "4"})
    eventually(lambda: "odd" in east.status["agent-east-1"]["error"])
    east.have_echo("10.1.0.2")
    eventually(lambda: rules.backends == {"10.1.0.2"})
    east.set(SERVICES, "odd", metadata={"namespace": "shop", "name": "odd"}, spec={"clusterIP": "None"})
    eventually(lambda: not east.status["agent-east-1"]["error"])
