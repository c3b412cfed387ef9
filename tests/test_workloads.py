"""What is put into the clusters is filled in safely, allowed everywhere, named as ours; and how a sweep is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec, Dialect, Fleet, FleetSpec
from meshproof.fixtures import floor as floor_module
from meshproof.fixtures import sweep as sweep_module
from meshproof.fixtures import workloads
from meshproof.fixtures.asking import own_answers, reached, reached_outside
from meshproof.fixtures.clock import RunClock
from meshproof.fixtures.floor import REPLICAS, Workload
from meshproof.fixtures.history import Answerer, CaseHeader, Observation, Recorder, Source
from meshproof.fixtures.manifests import fill, labelled, read_manifest
from meshproof.fixtures.objects import MANAGED_BY, RUN_LABEL, WorkloadError
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.patterns import Pattern
from meshproof.fixtures.probes import Sender, Target
from meshproof.fixtures.services import annotation
from meshproof.fixtures.sweep import Sweep, take_connections, take_sweep
from meshproof.fixtures.verdicts import PromiseBroken
from meshproof.fixtures.waits import eventually
from meshproof.fixtures.workloads import Pod, Removals, is_ready, namespace_name, ready_pod

MANIFEST = Path(__file__).parent.parent / "conformance" / "shop.yaml"
PATTERN = Pattern.read(MANIFEST, "r1")


def _cluster(name: str, id: int) -> Cluster:
    return Cluster(ClusterSpec(name, id, 2, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), name, Path("none"))


def _workload(names: Sequence[str]) -> Workload:
    clusters = tuple(_cluster(name, id) for id, name in enumerate(names, 1))
    spec = FleetSpec("paper", "paper", "paper", "cilium", tuple(c.spec for c in clusters), Path("paper.yaml"))
    places = [(name, number) for name in names for number in range(REPLICAS["echo"])]
    pods = [Pod(n, f"{n}-{i}", "ns", f"echo-{i}", f"{n}-{i}", f"10.{n}.{i}", "echo") for n, i in places]
    pods += [Pod(n, f"{n}-{i}", "ns", f"client-{i}", f"{n}-c{i}", f"10.{n}.9", "client") for n, i in places]
    services = {Dialect.CILIUM: "echo", Dialect.LEGACY: "echo-io-cilium"}
    return Workload(Fleet(spec, clusters, Path()), "ns", tuple(pods), services)


FLEET = _workload(["a", "b", "c"]).fleet
OBJECTS = [
    PATTERN.program(),
    PATTERN.service("echo", {"service.cilium.io/global": "true"}, {"ports": []}),
    PATTERN.deployment(FLEET["a"], "echo", 2),
]
PODS = [placed["spec"]["template"]["spec"] for placed in OBJECTS if placed["kind"] == "Deployment"]


def test_a_value_is_put_in_whole_and_never_read_again() -> None:
    """A scalar that is one name becomes the value with its type; names inside the value stay as they are."""
    by_kind = {(placed["kind"], placed["metadata"]["name"]): placed for placed in OBJECTS}
    assert by_kind["ConfigMap", "traffic"]["data"]["traffic.py"].startswith('"""The traffic program')
    assert by_kind["Deployment", "echo"]["spec"]["replicas"] == 2
    assert by_kind["Service", "echo"]["metadata"]["annotations"] == {"service.cilium.io/global": "true"}
    assert fill("echo-${cluster}", {"cluster": "a: b\n- c"}) == "echo-a: b\n- c"


def test_a_name_without_a_value_is_refused() -> None:
    """A misspelt name never reaches a cluster."""
    with pytest.raises(WorkloadError, match="nothing is given for"):
        fill({"a": ["${clutser}"]}, {"cluster": "east"})


def test_a_kind_that_is_not_placed_is_refused(tmp_path: Path) -> None:
    """A manifest may hold only the kinds the suite creates and removes."""
    (tmp_path / "m.yaml").write_text("kind: Secret\nmetadata: {name: x}\n")
    with pytest.raises(WorkloadError, match="kind Secret"):
        read_manifest(tmp_path / "m.yaml")


@pytest.mark.parametrize("pod", PODS, ids=["echo"])
def test_pods_satisfy_pod_security_restricted(pod: dict[str, Any]) -> None:
    """Every pod of the suite is admitted where PodSecurity restricted is enforced, and knows no API token."""
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"}.intersection(pod)
    assert [set(volume) - {"name"} for volume in pod["volumes"]] == [{"configMap"}]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not [port for port in container["ports"] if "hostPort" in port]


def test_what_we_place_is_labelled_as_ours() -> None:
    """Objects and the pods they make carry the manager and the run; their own labels stay."""
    deployment = next(placed for placed in OBJECTS if placed["kind"] == "Deployment")
    ours = {MANAGED_BY: "meshproof", RUN_LABEL: "r1"}
    assert deployment["metadata"]["labels"] == ours
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "echo", **ours}
    again = labelled(deployment, {RUN_LABEL: "r2"})
    assert (again["metadata"]["labels"][RUN_LABEL], deployment["metadata"]["labels"]) == ("r2", ours)


@pytest.mark.parametrize("slug", ["DISC-04[east-west]", "x" * 90, "a" * 36 + "-" * 20])
def test_a_namespace_name_is_a_dns_label(slug: str) -> None:
    """Whatever a case is called, its namespace is a valid name that begins with the run."""
    name = namespace_name("20261122043500-ab12", slug)
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
    assert name.startswith("mp-20261122043500-ab12-")
    assert name == name.lower().strip("-")


@pytest.mark.parametrize(
    ("conditions", "deleted", "ready"),
    [
        ([("Ready", "True")], None, True),
        ([("Ready", "False")], None, False),
        ([("Ready", "True")], "now", False),
        (None, None, False),
    ],
)
def test_a_pod_on_its_way_out_is_not_ready(
    conditions: list[tuple[str, str]] | None, deleted: str | None, ready: bool
) -> None:
    """Ready means the condition says so and nobody has deleted the pod."""
    told = None if conditions is None else [{"type": kind, "status": status} for kind, status in conditions]
    pod = {"metadata": {"deletionTimestamp": deleted}, "status": {"conditions": told}}
    assert is_ready(pod) is ready


def test_a_namespace_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be deleted, and what does not go in time, comes back as sentences; what goes is silent."""
    monkeypatch.setattr(workloads, "_delete", lambda cluster, namespace: "403 Forbidden" if cluster.name == "b" else "")
    monkeypatch.setattr(workloads, "_gone", lambda cluster, namespace: cluster.name != "b")
    removals = Removals()
    removals.remove(FLEET.clusters, "mp-x")
    told = removals.wait(within=0.0)
    assert [("cluster b" in sentence, "mp-x" in sentence) for sentence in told] == [(True, True)] * 2
    assert removals.wait(within=0.0) == ()


def test_a_dialect_without_a_word_says_so() -> None:
    """Asking a dialect for what it cannot express is an error, not a silent no-op."""
    assert annotation(Dialect.LEGACY, "shared") == "io.cilium/shared-service"
    with pytest.raises(WorkloadError, match="no annotation"):
        annotation(Dialect.FLEET, "shared")


def test_a_share_is_counted_in_ready_backends() -> None:
    """Of three clusters with two backends each every one has a third; one that loses a backend has less."""
    workload = _workload(["a", "b", "c"])
    assert workload.share(FLEET["b"]) == pytest.approx(1 / 3)
    lame = replace(workload, pods=tuple(pod for pod in workload.pods if pod.uid != "b-0"))
    assert lame.share(FLEET["b"]) == pytest.approx(1 / 5)


def test_matches_name_the_clusters() -> None:
    """`reached` is an answer, of one cluster or of any; `reached_outside` is an answer of any other."""
    assert reached().cluster is None
    assert reached(FLEET["a"]).cluster == "a"
    assert reached_outside(FLEET["a"]).not_cluster == "a"


class Pretended:
    """A clock: each look at it takes a fifth of a millisecond, however busy this machine is."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> float:
        self._looks += 1
        return self._looks / 5000


def _mesh_that_forgets(*silent: str, clock: RunClock) -> Any:
    """Stands in for `probe_all`: all clusters but the silent ones answer the service in turn, pods for themselves."""

    def probe_all(senders: Sequence[Sender], count: int, *_: object, **__: object) -> list[list[Observation]]:
        answerers = [name for name in "abc" if name not in silent]

        def by(sender: Sender, target: Target, n: int) -> str:
            return answerers[n % len(answerers)] if target.host.endswith(".local") else sender.source.cluster

        return [
            [
                _answer(sender, target, clock.now(), by(sender, target, n))
                for n in range(count)
                for target in sender.targets
            ]
            for sender in senders
        ]

    return probe_all


def nobody(*_: object, **__: object) -> Any:
    raise AssertionError("no pod is asked")


def _answer(sender: Sender, to: Target, now: float, by: str) -> Observation:
    source = Source(sender.source.cluster, sender.source.node, sender.source.name)
    answerer = Answerer(by, f"{by}-1", "ns", "echo", "uid", "10.0.0.1")
    return Observation(source, str(to), now, now, now, Outcome.REACHED, answerer)


def test_an_answer_out_of_another_namespace_is_not_ours() -> None:
    """An echo of another namespace, or of an earlier run, is `http-status` with its name; our own stays `reached`."""
    sender, _ = _workload(["a", "b"]).senders(FLEET["a"], (Target("echo.ns", 80, "http"),))
    own = _answer(sender, sender.targets[0], 1.0, "b")
    assert own.by is not None
    foreign = replace(own, by=replace(own.by, namespace="mp-old", pod="echo-9"))
    kept, told = own_answers("ns", [own, foreign])
    assert kept == own
    assert (told.outcome, told.by, told.due) == (Outcome.HTTP_STATUS, None, own.due)
    assert "b/mp-old/echo-9" in told.detail


@pytest.mark.parametrize("where", ["own pods", "service"])
def test_a_sweep_is_not_met_by_another_namespace(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh that leads to the echo of another namespace shows nothing about this one, by name or by address."""
    clock = RunClock()
    honest = _mesh_that_forgets(clock=clock)

    def astray(*arguments: Any, **options: Any) -> list[list[Observation]]:
        rows = honest(*arguments, **options)
        return [[replace(r, by=replace(r.by, namespace="other")) for r in each if r.by is not None] for each in rows]

    monkeypatch.setattr(sweep_module, "probe_all", astray)
    answers = take_sweep(_workload(["a", "b", "c"]), 0.01, clock, nobody)
    seen = answers.own_pods if where == "own pods" else answers.service
    assert {row.outcome for rows in seen.values() for row in rows} == {Outcome.HTTP_STATUS}


def test_what_became_of_the_pods_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that restarted, went or came since the workload was ready is named; the same pods are no news."""
    workload = _workload(["a", "b"])
    now = {name: [pod for pod in workload.pods if pod.cluster == name] for name in "ab"}
    monkeypatch.setattr(floor_module, "pods_now", lambda cluster, *_: tuple(now[cluster.name]))
    assert workload.changed() == ""
    now["a"][0] = replace(now["a"][0], restarts=1)
    now["b"][0] = replace(now["b"][0], name="echo-9", uid="fresh")
    assert workload.changed() == "b/echo-0 is gone; b/echo-9 is new; a/echo-0 restarted"
    now = {name: [pod for pod in workload.pods if pod.cluster == name] for name in "ab"}
    now["a"][1] = replace(now["a"][1], since="2026-11-22T09:00:00Z")
    assert workload.changed() == "a/echo-1 turned ready or not ready"


def test_a_pod_tells_since_when_it_is_ready() -> None:
    """The transition time of its condition Ready, and of no other."""
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": kind} for kind in ("Initialized", "Ready")]
    placed = {"metadata": {"namespace": "ns", "name": "echo-0", "uid": "u"}, "spec": {}}
    assert ready_pod("a", {**placed, "status": {"conditions": conditions}}).since == "Ready"
    assert ready_pod("a", {**placed, "status": {}}).since == ""


def test_long_names_do_not_share_a_namespace() -> None:
    """Two cases whose names differ only at the end have a namespace each."""
    names = {namespace_name("20261122043500-ab12", f"DISC-04[{'x' * 40}-{far}]") for far in ("east", "west")}
    assert len(names) == 2


@pytest.mark.parametrize("silent", [(), ("c",)])
def test_a_sweep_is_judged_pair_by_pair(
    silent: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case replays its slice into its own history: a cluster that never answers fails its pairs and no other."""
    clock: Any = Pretended()
    monkeypatch.setattr(sweep_module, "probe_all", _mesh_that_forgets(*silent, clock=clock))
    answers = take_sweep(_workload(["a", "b", "c"]), 0.2, clock, nobody)
    failed = set()
    for near, far in FLEET.pairs():
        id = f"DISC-01[{near.name}-{far.name}]"
        header = CaseHeader(id, "DISC-01", (near.name, far.name), "cilium", 7, "paper")
        with Recorder(tmp_path / f"{id}.jsonl", clock, header) as recorder:
            sweep = Sweep(lambda: answers, recorder, clock)
            eventually(sweep.own_pods(far), reached(far), since=0.0, within=0.2, in_a_row=3, name="c", role="control")
            asked = sweep.requests(near, Dialect.LEGACY)
            try:
                eventually(asked, reached(), including=reached(far), since=0.0, within=0.2, in_a_row=35, name="f")
            except PromiseBroken:
                failed.add((near.name, far.name))
    assert failed == {(near.name, far.name) for near, far in FLEET.pairs() if far.name in silent}


def test_as_many_connections_are_counted_as_the_power_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six backends need 1,289 connections at least, in equal parts from all clients of the cluster."""
    clock = RunClock()
    monkeypatch.setattr(sweep_module, "probe_all", _mesh_that_forgets(clock=clock))
    counted = take_connections(_workload(["a", "b", "c"]), FLEET["a"], clock, nobody)
    assert len(counted.seen) == 1290
    assert {row.source.pod for row in counted.seen} == {"client-0", "client-1"}
