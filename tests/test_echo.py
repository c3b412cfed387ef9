"""What a case asks for is what the clusters are told, and what it did is what it expects of its backends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, Dialect, Fleet, FleetSpec
from meshproof.fixtures import objects
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.echo import ABSENT, INTERVAL_SECONDS, Backends
from meshproof.fixtures.floor import REPLICAS, Floor
from meshproof.fixtures.history import CaseHeader, Recorder
from meshproof.fixtures.objects import WorkloadError
from meshproof.fixtures.patterns import Pattern
from meshproof.fixtures.services import HTTP, UDP, ServicePort
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.workloads import Removals

MANIFEST = Path(__file__).parent.parent / "conformance" / "shop.yaml"


def _cluster(name: str, id: int) -> Cluster:
    return Cluster(ClusterSpec(name, id, 2, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), name, Path(name))


EAST, WEST, NORTH = (_cluster(name, id) for id, name in enumerate(("east", "west", "north"), 1))
CLUSTERS = (EAST, WEST, NORTH)


class Clusters:
    """API servers that keep what they are given, and make ready pods of a Deployment at once."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], dict[str, Any]] = {}
        self.made = 0
        self._one_at_a_time = threading.Lock()

    def call(
        self,
        cluster: Cluster,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Cases ask several clusters side by side."""
        with self._one_at_a_time:
            return self._answer(cluster, method, path, json.loads(json.dumps(body)), query)

    def _answer(
        self, cluster: Cluster, method: str, path: str, body: Any, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        if method == "POST":
            where = cluster.name, f"{path}/{body['metadata']['name']}"
            assert where not in self.things, "it exists already"
            self.things[where] = body
            if body["kind"] == "Service":
                body["spec"].setdefault("clusterIP", f"172.20.0.{len(self.things)}")
            return self._scaled(cluster, body) if body["kind"] in ("Deployment", "ReplicaSet") else dict(body)
        if method == "DELETE":
            return self.things.pop((cluster.name, path), {})
        if method == "PATCH" and path.endswith("/scale"):
            held = self.things[cluster.name, path.removesuffix("/scale")]
            held["spec"]["replicas"] = body["spec"]["replicas"]
            return self._scaled(cluster, held)
        if method == "PATCH":
            held = self.things[cluster.name, path]
            merge(held, body)
            return dict(held)
        wanted = (query or {}).get("labelSelector", "")
        pods = [
            thing
            for (name, at), thing in list(self.things.items())
            if name == cluster.name and at.startswith(f"{path}/")
        ]
        return {"items": [pod for pod in pods if pod["metadata"]["labels"]["app"] in wanted]}

    def _scaled(self, cluster: Cluster, deployment: dict[str, Any]) -> dict[str, Any]:
        meta = deployment["metadata"]
        namespace = meta.get("namespace", "")
        app = deployment["spec"]["template"]["metadata"]["labels"]["app"]
        at = next(path for (name, path), thing in self.things.items() if thing is deployment and name == cluster.name)
        where = (
            at.replace("/apis/apps/v1", "/api/v1").replace("/deployments/", "/pods/").replace("/replicasets/", "/pods/")
        )
        mine = [key for key in self.things if key[0] == cluster.name and key[1].startswith(f"{where}-")]
        for key in mine[deployment["spec"]["replicas"] :]:
            del self.things[key]
        for _ in range(len(mine), deployment["spec"]["replicas"]):
            self.made += 1
            name = f"{app}-{self.made}"
            self.things[cluster.name, f"{where}-{self.made}"] = {
                "metadata": {"name": name, "namespace": namespace, "uid": f"u{self.made}", "labels": {"app": app}},
                "spec": {"nodeName": f"{cluster.name}-{self.made % 2}"},
                "status": {"podIP": f"10.0.0.{self.made}", "conditions": [{"type": "Ready", "status": "True"}]},
            }
        return dict(deployment)

    def service(self, cluster: Cluster, name: str, namespace: str = "shop") -> dict[str, Any]:
        return self.things[cluster.name, f"/api/v1/namespaces/{namespace}/services/{name}"]


def merge(held: dict[str, Any], body: Mapping[str, Any]) -> None:
    """JSON merge patch."""
    for key, value in body.items():
        if value is None:
            held.pop(key, None)
        elif isinstance(value, dict) and isinstance(held.get(key), dict):
            merge(held[key], value)
        else:
            held[key] = value


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    kept = Clusters()
    monkeypatch.setattr(objects, "call", kept.call)
    return kept


class Nobody:
    """Is asked nothing."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody is asked")

    def over(self, *_: Any) -> Any:
        raise AssertionError("nobody was asked")


class Case:
    """A shop for one case, and what the case is to be told of at its end."""

    def __init__(self, directory: Path, dialects: tuple[Dialect, ...] = (Dialect.CILIUM, Dialect.LEGACY)) -> None:
        spec = FleetSpec("paper", "paper", "paper", "cilium", tuple(c.spec for c in CLUSTERS), Path("paper.yaml"))
        clock = RunClock()
        floor = Floor(Fleet(spec, CLUSTERS, Path()), dialects, "shop", lambda: Pattern.read(MANIFEST, "r1"))
        header = CaseHeader("DISC-04[east-west]", "DISC-04", ("east", "west"), "cilium", 7, "paper")
        self.recorder = Recorder(directory / f"{len(list(directory.iterdir()))}.jsonl", clock, header)
        self.undone: list[Any] = []
        self.shop = Shop(
            floor=floor,
            slug="disc-04-east-west",
            scope="r1",
            pair=(EAST, WEST),
            draw="7 DISC-04[east-west]",
            recorder=self.recorder,
            clock=clock,
            execute=Nobody(),
            removals=Removals(),
            undo=self.undone.append,
            footing=lambda _: None,
            namespaces=lambda _: None,
        )


@pytest.fixture
def case(clusters: Clusters, tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.recorder.close()


@pytest.fixture
def shop(case: Case) -> Shop:
    return case.shop


def test_of_a_floor_the_pods_that_ask_may_come_up_before(case: Case, clusters: Clusters) -> None:
    """Nothing that a mesh takes note of is there before the workload is asked for, and nothing is made twice."""
    floor = case.shop.floor
    floor.put_up_clients()
    floor.put_up_clients()
    assert {path.split("/")[-2] for _, path in clusters.things} == {"namespaces", "configmaps", "deployments", "pods"}
    assert {app for (_, path), thing in clusters.things.items() if (app := _app(path, thing))} == {"client"}
    assert floor.namespaces() == ["shop"]

    workload = floor.workload()

    assert [len(workload.backends(cluster)) for cluster in CLUSTERS] == [2, 2, 2]
    assert [len(workload.askers(cluster)) for cluster in CLUSTERS] == [2, 2, 2]
    assert clusters.service(EAST, "echo")
    assert floor.workload() is workload


def _app(path: str, thing: Mapping[str, Any]) -> str:
    return str(thing["metadata"]["labels"]["app"]) if "/pods/" in path else ""


def test_an_echo_is_a_service_of_the_case_in_its_pair(shop: Shop, clusters: Clusters) -> None:
    """Named after the case, global, over the shared pods, and in no other cluster."""
    echo = shop.echo()
    assert (echo.name, echo.host) == ("disc-04-east-west", "disc-04-east-west.shop.svc.cluster.local")
    made = clusters.service(EAST, echo.name)
    assert made["metadata"]["annotations"] == {"service.cilium.io/global": "true"}
    assert made["spec"]["selector"] == {"app": "echo"}
    assert made["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    assert ("north", f"/api/v1/namespaces/shop/services/{echo.name}") not in clusters.things
    assert [echo.share(cluster) for cluster in (EAST, WEST)] == [0.5, 0.5]
    assert len(echo.backends(EAST)) == REPLICAS["echo"]


def test_marks_are_of_the_dialect_and_for_each_cluster(shop: Shop, clusters: Clusters) -> None:
    """A cluster that a mapping leaves out has no annotation; a word the dialect lacks is an error."""
    echo = shop.echo(dialect=Dialect.LEGACY, is_global={EAST: True}, shared={WEST: False}, affinity="local")
    assert clusters.service(EAST, echo.name)["metadata"]["annotations"] == {
        "io.cilium/global-service": "true",
        "io.cilium/service-affinity": "local",
    }
    assert clusters.service(WEST, echo.name)["metadata"]["annotations"] == {
        "io.cilium/shared-service": "false",
        "io.cilium/service-affinity": "local",
    }
    with pytest.raises(WorkloadError, match="no annotation for 'shared'"):
        shop.echo("other", dialect=Dialect.FLEET, shared=False)


def test_a_changed_annotation_is_the_one_that_changes(shop: Shop, clusters: Clusters) -> None:
    """What is not given stays, ABSENT removes, and the event says what was done."""
    echo = shop.echo(shared={WEST: False})
    event = echo.annotate(WEST, shared=ABSENT, affinity="remote")
    assert clusters.service(WEST, echo.name)["metadata"]["annotations"] == {
        "service.cilium.io/global": "true",
        "service.cilium.io/affinity": "remote",
    }
    assert event.detail == {"service.cilium.io/shared": None, "service.cilium.io/affinity": "remote"}
    assert event.target == {"cluster": "west", "namespace": "shop", "service": echo.name}


def test_ports_may_differ_and_lack_names(shop: Shop, clusters: Clusters) -> None:
    """Each cluster has its own; what is asked, and how, follows the cluster that asks."""
    echo = shop.echo(ports={EAST: (HTTP, UDP), WEST: (ServicePort("", 80, 8081),)})
    assert "name" not in clusters.service(WEST, echo.name)["spec"]["ports"][0]
    asked = [str(target) for target in echo.requests(EAST, every_port=True).sends[0].targets]
    assert asked == [f"{echo.host}:80/http", f"{echo.host}:82/udp"]
    assert str(echo.requests(WEST).sends[0].targets[0]) == f"{echo.host}:80/tcp"
    assert str(echo.requests(EAST, zone="fleet").sends[0].targets[0]).startswith("disc-04-east-west.shop.svc.fleet:80")


def test_shares_follow_what_the_case_does(shop: Shop) -> None:
    """Scaled, left without a selector's match, removed and restored: a share counts the backends there are then."""
    echo = shop.echo(pods={WEST: 1})
    assert echo.share(EAST) == pytest.approx(2 / 3)
    echo.scale(WEST, 2)
    assert echo.share(EAST) == 0.5
    echo.select(EAST, Backends.NONE)
    assert (echo.share(WEST), echo.backends(EAST)) == (1.0, ())
    echo.remove(WEST)
    with pytest.raises(WorkloadError, match="no backend"):
        echo.share(WEST)
    echo.restore(WEST)
    echo.select(EAST, Backends.PODS)
    assert echo.share(WEST) == 0.5
    assert echo.changed() == ""


def test_a_restored_service_is_the_one_that_was_removed(shop: Shop, clusters: Clusters) -> None:
    """With its last annotations, and at the same address."""
    echo = shop.echo()
    echo.annotate(EAST, shared=False)
    before = dict(clusters.service(EAST, echo.name)["spec"])
    echo.remove(EAST)
    echo.restore(EAST)
    again = clusters.service(EAST, echo.name)
    assert again["spec"] == before
    assert again["metadata"]["annotations"]["service.cilium.io/shared"] == "false"


def test_shared_pods_and_services_stay_as_they_are(shop: Shop) -> None:
    """A case scales its own pods only, changes its own Service only, and cannot take a selector away."""
    echo = shop.echo()
    with pytest.raises(WorkloadError, match="no pods of its own"):
        echo.scale(EAST, 1)
    with pytest.raises(WorkloadError, match="mutates"):
        shop.lent().annotate(EAST, shared=False)
    with pytest.raises(WorkloadError, match="selector"):
        echo.select(EAST, Backends.SELECTORLESS)


def test_a_case_asks_from_one_pod_that_its_seed_chooses(shop: Shop) -> None:
    """One client asks, always the same for a case and seed, another one for others; told to, all of them ask."""
    one, other = shop.echo("one"), shop.echo("other")
    assert [len(one.requests(EAST).sends), len(one.requests(EAST, every_client=True).sends)] == [1, 2]
    shared = one.from_all_clients(EAST)
    assert (len(shared.sends), shared.divided, shared.interval) == (2, True, 2 * INTERVAL_SECONDS)
    assert one.requests(EAST).sends[0].source.name == one.client(EAST).name == other.client(EAST).name
    chosen = {replace(shop, draw=f"{seed} DISC-04").lent().client(EAST).name for seed in range(20)}
    assert len(chosen) == 2


def test_all_that_a_case_made_is_taken_down(clusters: Clusters, case: Case) -> None:
    """Its Services and pods go with it; what is shared stays."""
    case.shop.lent()
    echo = case.shop.echo(pods={WEST: 1})
    for undo in reversed(case.undone):
        undo()
    left = {path.rpartition("/")[2] for _, path in clusters.things}
    assert echo.name not in left
    assert {"echo", "echo-io-cilium", "client"} <= left
