"""What a Service asks for beyond being global: affinity, sessions, local traffic, the gate, names under svc.fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from meshproof.clusters.meshes.reference.balance import Balance, Offering
from meshproof.clusters.meshes.reference.merge import Offer, choose, gather, merge
from meshproof.clusters.meshes.reference.naming import Name, place_of, resolve, steps
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.records import Key, Member, Port, Record
from meshproof.clusters.meshes.reference.selection import affinity, is_global, select
from meshproof.clusters.meshes.reference.settings import CACHE_TTL, DEFAULT_GLOBAL_NAMESPACE, read_settings
from meshproof.clusters.meshes.reference.world import (
    Endpoint,
    Service,
    World,
    joined,
    read_service,
    read_slice,
    read_world,
)

GLOBAL = {"service.cilium.io/global": "true"}
EXPORTED = {"fleet.azure.com/exported": "true"}
HTTP = Port("http", "TCP", 80)
KEY = ("shop", "echo")
NEAR, GOING, FAR, FARTHER = ("10.1.0.1", 80), ("10.1.0.9", 80), ("10.2.0.1", 80), ("10.3.0.1", 80)


def service(annotations: Mapping[str, str] = GLOBAL, **more: Any) -> Service:
    return Service("shop", "echo", "172.20.0.9", (HTTP,), annotations, **more)


def endpoint(address: str, *, ready: bool = True, terminating: bool = False, node: str = "n1") -> Endpoint:
    return Endpoint(address, {"http": ("TCP", 80)}, ready, ready or terminating, terminating, node)


def record(address: str, number: int, *, exported: bool = False, port: Port = HTTP) -> Record:
    return Record(Member(f"c{number}", number), *KEY, (port,), {address: {"http": ("TCP", 80)}}, exported)


@pytest.mark.parametrize(
    ("value", "local", "terminating", "remote", "chosen"),
    [
        ("none", [NEAR], [], [FAR], [NEAR, FAR]),
        ("none", [], [], [FAR], [FAR]),
        ("none", [], [GOING], [FAR], [FAR]),
        ("none", [], [GOING], [], [GOING]),
        ("none", [NEAR], [GOING], [], [NEAR]),
        ("none", [], [], [], []),
        ("local", [NEAR], [], [FAR, FARTHER], [NEAR]),
        ("local", [], [], [FAR, FARTHER], [FAR, FARTHER]),
        ("local", [], [GOING], [FAR], [FAR]),
        ("local", [], [GOING], [], [GOING]),
        ("remote", [NEAR], [], [FAR], [FAR]),
        ("remote", [NEAR], [GOING], [], [NEAR]),
        ("remote", [], [GOING], [FAR], [FAR]),
        ("remote", [], [GOING], [], [GOING]),
        ("nearest", [NEAR], [], [FAR], [NEAR, FAR]),
        ("LOCAL", [NEAR], [], [FAR], [NEAR]),
        (None, [NEAR], [], [FAR], [NEAR, FAR]),
    ],
)
def test_affinity_and_health_choose_the_backends(
    value: str | None, local: Any, terminating: Any, remote: Any, chosen: Any
) -> None:
    """Local keeps remotes out while an own one is active; remote is its mirror; the terminating come last."""
    offer = Offer(HTTP, tuple(local), tuple(terminating), {"c2": tuple(remote)})
    for key in ("service.cilium.io/affinity", "io.cilium/service-affinity"):
        asked = service(GLOBAL if value is None else {**GLOBAL, key: value})
        assert choose(asked, offer) == tuple(sorted(chosen))


def test_the_new_spelling_of_affinity_wins() -> None:
    """Where both spellings are present the new one decides, even when its value is unknown."""
    both = {"service.cilium.io/affinity": "nearest", "io.cilium/service-affinity": "local"}
    assert affinity(service(both)) == "none"


def test_conditions_of_endpoint_slices_say_who_is_active_and_who_is_going() -> None:
    """Ready is active; terminating and serving is going; terminating alone, and not ready, is neither."""
    conditions = {
        "10.1.0.1": {"ready": True, "serving": True, "terminating": False},
        "10.1.0.2": {"ready": False, "serving": True, "terminating": True},
        "10.1.0.3": {"ready": False, "serving": False, "terminating": True},
        "10.1.0.4": {"ready": False},
        "10.1.0.5": {},
    }
    piece = {
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": [ip], "conditions": said} for ip, said in conditions.items()],
    }
    (offer,) = merge(service(), joined([read_slice(piece)]), {}, {}, "n1")
    assert offer.local == (("10.1.0.1", 80), ("10.1.0.5", 80))
    assert offer.terminating == (("10.1.0.2", 80),)
    shared = select(Member("c1", 1), service(), joined([read_slice(piece)]), {})
    assert shared is not None
    assert set(shared.backends) == {"10.1.0.1", "10.1.0.5"}


def test_local_internal_traffic_keeps_other_nodes_out_but_no_peer() -> None:
    """As in Cilium: own backends of other nodes get nothing, a remote one has no node and stays."""
    own = (endpoint("10.1.0.1"), endpoint("10.1.0.2", node="n2"), endpoint("10.1.0.3", node=""))
    (offer,) = merge(service(internal_local=True), own, {}, {"c2": record("10.2.0.1", 2)}, "n1")
    assert [address for address, _ in offer.local] == ["10.1.0.1", "10.1.0.3"]
    assert offer.remote == {"c2": (("10.2.0.1", 80),)}


@pytest.mark.parametrize(
    ("spec", "seconds", "local", "selects"),
    [
        ({}, 0, False, False),
        ({"sessionAffinity": "None", "selector": {"app": "echo"}}, 0, False, True),
        ({"sessionAffinity": "ClientIP"}, 10800, False, False),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}},
            7,
            False,
            False,
        ),
        ({"internalTrafficPolicy": "Local"}, 0, True, False),
    ],
)
def test_a_service_is_read_as_it_is_written(spec: Any, seconds: int, local: bool, selects: bool) -> None:
    """Session affinity with Kubernetes' default of three hours, the internal traffic policy, and the selector."""
    item = {"metadata": {"namespace": "shop", "name": "echo"}, "spec": {"clusterIP": "172.20.0.9", **spec}}
    read = read_service(item)
    assert (read.session_seconds, read.internal_local, read.selects) == (seconds, local, selects)
    assert read.stands_for is None


@pytest.mark.parametrize("said", [None, "true", "false"])
@pytest.mark.parametrize("default", [{}, {"clustermesh.cilium.io/global": "false"}])
def test_the_gate_falls_back_to_the_default_of_the_mesh(said: str | None, default: Mapping[str, str]) -> None:
    """A Namespace's own word counts; a silent one, and one not seen yet, has the mesh-wide default."""
    own = {} if said is None else {"clustermesh.cilium.io/global": said}
    world = World(namespaces={"shop": {**default, **own}}, elsewhere=default)
    assert is_global(service(), world.namespace("shop")) is (not default if said is None else said == "true")
    assert is_global(service(), world.namespace("unseen")) is (not default)


def test_exported_says_global_and_shared_in_one_word() -> None:
    """fleet.azure.com/exported shares and imports whatever the other annotations say, but not through a closed gate."""
    for others in ({}, {"service.cilium.io/global": "false"}, {**GLOBAL, "service.cilium.io/shared": "false"}):
        shared = select(Member("c1", 1), service({**EXPORTED, **others}), (endpoint("10.1.0.1"),), {})
        assert shared is not None
        assert shared.exported
    assert select(Member("c1", 1), service(EXPORTED), (), {"clustermesh.cilium.io/global": "false"}) is None
    assert select(Member("c1", 1), service({"fleet.azure.com/exported": "false"}), (), {}) is None
    plain = select(Member("c1", 1), service(), (), {})
    assert plain is not None
    assert not plain.exported


def test_a_service_without_selector_regains_what_it_lost() -> None:
    """A peer's Service that is deleted and made again answers again, with and without slices made by hand."""
    balance, pipeline = Balance(), Pipeline()
    bare = World({KEY: service(selects=False)}, {}, {})
    by_hand = replace(bare, endpoints={KEY: (endpoint("192.0.2.1"),)})
    for world, own in ((bare, set()), (by_hand, {("192.0.2.1", 80)})):
        for far in ({KEY: record("10.2.0.1", 2)}, {}, {KEY: record("10.2.0.1", 2)}):
            (frontend,) = balance.frontends(pipeline, world, {"c2": far})
            assert set(frontend.backends) == own | ({FAR} if far else set())


def kept(exports: Mapping[str, Mapping[Key, Record]]) -> dict[Key, Key]:
    return {place: name.stands_for for place, name in resolve(exports).items()}


def test_every_exported_service_has_a_name_in_every_member() -> None:
    """One place per service however many members export it; the lowest id's ports count; others have none."""
    exports = {
        "c3": {KEY: record("10.3.0.1", 3, exported=True, port=Port("web", "TCP", 8080))},
        "c2": {KEY: record("10.2.0.1", 2, exported=True), ("shop", "private"): record("10.2.0.2", 2)},
    }
    assert resolve(exports) == {("fleet-services", "echo--shop"): Name(KEY, (HTTP,))}
    assert resolve({"c1": {}}) == {}


@pytest.mark.parametrize("key", [("a--b", "echo"), ("n" * 40, "e" * 22)])
def test_a_name_that_could_mean_two_things_or_is_too_long_is_none(key: Key) -> None:
    """Two dashes end the name and begin the namespace, in 63 characters: what does not fit has no name."""
    assert place_of(key) is None
    assert place_of(("shop", "a--b")) == ("fleet-services", "a--b--shop")


def test_a_name_is_answered_by_all_members_that_export() -> None:
    """Behind a name stand the own pods where the own Service is exported, and every peer's exported record."""
    bearer = Service("fleet-services", "echo--shop", "172.20.0.8", (HTTP,), GLOBAL, stands_for=KEY)
    imported = {"c2": {KEY: record("10.2.0.1", 2, exported=True)}, "c3": {KEY: record("10.3.0.1", 3)}}
    assert set(gather(bearer, imported)) == {"c2"}
    endpoints = {KEY: (endpoint("10.1.0.1"),)}
    for own, expected in (({KEY: service(EXPORTED)}, {NEAR, FAR}), ({KEY: service()}, {FAR}), ({}, {FAR})):
        world = World({bearer.key: bearer, **own}, endpoints)
        named = [f for f in Balance().frontends(Pipeline(), world, imported) if f.name == "echo--shop"]
        assert set(named[0].backends) == expected


def test_the_mesh_keeps_its_own_services_and_touches_no_others() -> None:
    """Missing names are made, changed ones changed, old ones removed once all is known, and a user's is left alone."""
    place = ("fleet-services", "echo--shop")
    mine = Service(*place, "172.20.0.8", (HTTP,), GLOBAL, stands_for=KEY)
    old = replace(mine, name="old--shop", stands_for=("shop", "old"))

    def taken(*there: Service, complete: bool = True) -> list[tuple[str, Key]]:
        wanted = steps({place: Name(KEY, (HTTP,))}, {s.key: s for s in there}, complete=complete)
        return [(verb, where) for verb, where, _ in wanted]

    assert taken() == [("create", place)]
    assert taken(mine) == []
    assert taken(replace(mine, ports=())) == [("change", place)]
    assert taken(replace(mine, stands_for=None)) == []
    assert taken(mine, old, complete=False) == []
    assert taken(mine, old) == [("delete", old.key)]


def test_settings_are_read_and_wrong_ones_told() -> None:
    """Defaults as upstream; Go durations; what cannot be read counts as the default and is complained of."""
    assert read_settings({}).global_by_default
    assert read_settings({}).cache_ttl_seconds == 0
    assert not read_settings({DEFAULT_GLOBAL_NAMESPACE: "False"}).global_by_default
    for text, seconds in (("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("7", 7), ("0s", 0)):
        assert read_settings({CACHE_TTL: text}).cache_ttl_seconds == seconds
    wrong = read_settings({CACHE_TTL: "soon", DEFAULT_GLOBAL_NAMESPACE: "maybe"})
    assert (wrong.cache_ttl_seconds, wrong.global_by_default) == (0, True)
    assert "soon" in wrong.complaint
    assert "maybe" in wrong.complaint


def test_only_what_changed_is_decided_again() -> None:
    """A change of one service asks `merge` and `select` about that one alone; a new pipeline asks about all."""
    asked: list[str] = []

    def watched(service: Service, *rest: Any) -> tuple[Offer, ...]:
        asked.append(service.name)
        return merge(service, *rest)

    def shown(member: Member, service: Service, *rest: Any) -> Record | None:
        asked.append(service.name)
        return select(member, service, *rest)

    names = ("a", "b", "c")
    services = {("shop", name): replace(service(), name=name) for name in names}
    changed = {**services, ("shop", "b"): replace(service(EXPORTED), name="b")}
    pipeline = Pipeline(Site("c1", "n1"), merge=watched, select=shown)
    balance, offering = Balance(), Offering()
    for decide in (
        lambda world, by: balance.frontends(by, world, {"c2": {}}),
        lambda world, by: offering.records(by, Member("c1", 1), world),
    ):
        asked.clear()
        for seen, by, expected in (
            (services, pipeline, [*names]),
            (dict(services), pipeline, []),
            (changed, pipeline, ["b"]),
            (changed, replace(pipeline), [*names]),
        ):
            decide(World(seen), by)
            assert asked == expected
            asked.clear()


def test_a_mesh_service_is_known_by_its_label() -> None:
    """The annotation alone does not make a user's Service the mesh's."""
    metadata = {"namespace": "shop", "name": "echo", "annotations": {"meshproof.reference/stands-for": "shop/other"}}
    item = {"metadata": metadata, "spec": {"clusterIP": "172.20.0.9"}}
    assert read_world([item], [], []).services[KEY].stands_for is None
    metadata["labels"] = {"app.kubernetes.io/managed-by": "meshproof-reference-mesh"}
    assert read_world([item], [], []).services[KEY].stands_for == ("shop", "other")
