"""In clusters somebody else made only labelled objects in namespaces of ours are written; a managed mesh never is."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.api import call, client_for
from meshproof.clusters.fleet import Cluster, ClusterSpec, Fleet, FleetSpec, Writes
from meshproof.clusters.meshes.reference.mesh import ReferenceMesh
from meshproof.clusters.ownership import MANAGED_BY, RUN_LABEL, NotOurs, refusal
from tests.paper_api import PaperApi, cluster_answers, serving
from tests.test_tidy import called, trees

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
LABELS = {MANAGED_BY: "meshproof", RUN_LABEL: "r1"}
OURS = {"metadata": {"name": "mp-x", "labels": LABELS}}
BARE = {"metadata": {"name": "mp-x"}}
MESH = "/api/v1/namespaces/kube-system/configmaps/reference-mesh-config"

REQUESTS: list[tuple[str, str, Any, bool, bool]] = [
    ("GET", "/api/v1/secrets", None, True, True),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, True, True),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {}, False, False),
    ("POST", "/api/v1/namespaces", OURS, True, True),
    ("POST", "/api/v1/namespaces", BARE, False, False),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "shop", "labels": LABELS}}, False, False),
    ("DELETE", "/api/v1/namespaces/mp-x", None, True, True),
    ("DELETE", "/api/v1/namespaces", None, False, False),
    ("DELETE", "/api/v1/namespaces/shop", None, False, False),
    ("POST", "/api/v1/namespaces/mp-x/services", OURS, True, True),
    ("POST", "/api/v1/namespaces/mp-x/services", BARE, False, False),
    ("POST", "/api/v1/namespaces/shop/services", OURS, False, False),
    ("PATCH", "/apis/apps/v1/namespaces/mp-x/replicasets/a/scale", {}, True, True),
    ("PATCH", "/apis/apps/v1/namespaces/shop/replicasets/a/scale", {}, False, False),
    ("PUT", "/api/v1/nodes/mp-x", OURS, False, False),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", OURS, False, False),
    ("PATCH", MESH, {}, False, True),
    ("PATCH", "/api/v1/namespaces/kube-system/configmaps/cilium-config", {}, False, True),
    ("PATCH", "/api/v1/namespaces/kube-system/configmaps/coredns", {}, False, False),
    ("DELETE", MESH, None, False, False),
    ("DELETE", MESH.rpartition("/")[0], None, False, False),
    ("POST", MESH.rpartition("/")[0], {"metadata": {"name": "reference-mesh-config"}}, False, True),
    ("POST", MESH.rpartition("/")[0], {"metadata": {"name": "coredns"}}, False, False),
    ("PUT", "/api/v1/namespaces/mp-x/services/a", BARE, False, False),
    ("DELETE", "/api/v1/namespaces/mp-x/../kube-system", None, False, False),
    ("DELETE", "/api/v1/namespaces/mp-x%2F..%2Fshop", None, False, False),
]


@pytest.mark.parametrize(("method", "path", "body", "own", "mesh"), REQUESTS)
def test_a_request_is_judged_by_what_it_would_change(method: str, path: str, body: Any, own: bool, mesh: bool) -> None:
    """Reads and questions may be sent, and writes of labelled objects of ours; the mesh's settings when allowed."""
    assert refusal(Writes.ALL, method, path, body) == ""
    assert (refusal(Writes.OWN, method, path, body) == "") is own
    assert (refusal(Writes.MESH, method, path, body) == "") is mesh


def spec(provider: str, mesh: str, profile: str, *, disruption: bool) -> FleetSpec:
    return FleetSpec("f", provider, mesh, profile, (), Path("f.yaml"), disruption)


@pytest.mark.parametrize(
    ("provider", "mesh", "profile", "disruption", "writes"),
    [
        ("embedded", "reference", "aks-fleet", False, Writes.ALL),
        ("existing", "reference", "cilium", False, Writes.OWN),
        ("existing", "reference", "cilium", True, Writes.MESH),
        ("existing", "cilium", "cilium", True, Writes.MESH),
        ("existing", "cilium", "aks-fleet", True, Writes.OWN),
        ("existing", "aks-fleet", "aks-fleet", True, Writes.OWN),
        ("existing", "aks-fleet", "cilium", True, Writes.OWN),
    ],
)
def test_a_managed_mesh_is_never_changed(
    provider: str, mesh: str, profile: str, disruption: bool, writes: Writes
) -> None:
    """Disruption has to be allowed for clusters somebody else made, and is not for a mesh that a cloud manages."""
    assert spec(provider, mesh, profile, disruption=disruption).writes is writes


@pytest.fixture
def lent(tmp_path: Path) -> Any:
    """A running paper cluster as a fleet with an account that may only write its own."""
    api = cluster_answers()
    with serving({"east": api}, tmp_path) as kubeconfig:
        yield api, Cluster(ClusterSpec("east"), "east", kubeconfig, Writes.OWN)


def test_no_call_that_changes_a_mesh_reaches_a_managed_one(lent: tuple[PaperApi, Cluster]) -> None:
    """Whatever a mesh of ours can do to clusters, nothing of it is sent when only our own objects may be written."""
    api, cluster = lent
    managed = spec("existing", "aks-fleet", "aks-fleet", disruption=True)
    fleet = Fleet(managed, (replace(cluster, writes=managed.writes),), Path())
    with pytest.raises(NotOurs, match="which needs --allow-disruption, and which no managed mesh allows"):
        ReferenceMesh().set_defects(fleet, ["shared_ignored"], 1)
    with pytest.raises(NotOurs):
        ReferenceMesh().configure(fleet, {"clustermesh-cache-ttl": "1s"}, 1)
    assert api.written() == []


def test_every_client_is_held(lent: tuple[PaperApi, Cluster]) -> None:
    """One request in plain JSON, and the library's own classes: both are refused before anything is sent."""
    from kubernetes.client import CoreV1Api, V1ObjectMeta, V1Service

    api, cluster = lent
    with pytest.raises(NotOurs, match="cluster east is somebody else's, DELETE /api/v1/nodes/a was not sent"):
        call(cluster, "DELETE", "/api/v1/nodes/a")
    with client_for(cluster) as client, pytest.raises(NotOurs, match="not labelled"):
        CoreV1Api(client).create_namespaced_service("mp-x", V1Service(metadata=V1ObjectMeta(name="echo")))
    assert api.written() == []
    call(cluster, "POST", "/api/v1/namespaces", OURS)
    assert api.written() == ["POST /api/v1/namespaces"]


def test_only_one_module_makes_objects() -> None:
    """Fixtures and cases make and change objects by `objects` alone; no other module sends a write."""
    allowed = {"fixtures/objects.py": {"POST", "PATCH", "DELETE"}, "fixtures/workloads.py": {"DELETE"}}
    guilty = []
    for name in (name for name in trees() if name.startswith(("fixtures/", "conformance/"))):
        for node in ast.walk(trees()[name]):
            if not isinstance(node, ast.Call):
                continue
            sent = {arg.value for arg in node.args if isinstance(arg, ast.Constant)} & {
                "POST",
                "PUT",
                "PATCH",
                "DELETE",
            }
            by_library = called(node).split(".")[-1].startswith(("create_namespaced", "patch_namespaced", "replace_"))
            if by_library or sent - allowed.get(name, set()):
                guilty.append(f"{name}:{node.lineno}")
    assert guilty == []
