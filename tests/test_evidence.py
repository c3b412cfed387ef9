"""What is kept of a red case: the objects, for `jq`, for nobody but us to read, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures import evidence
from meshproof.fixtures.evidence import keep_objects
from meshproof.fixtures.objects import WorkloadError

EAST = Cluster(ClusterSpec("east", 1, 1, "10.1.0.0/24", "10.2.0.0/16", "172.20.0.0/16"), "east", Path("east"))


def kept(monkeypatch: pytest.MonkeyPatch, directory: Path, items: Any) -> list[dict[str, Any]]:
    monkeypatch.setattr(evidence, "items", items)
    monkeypatch.setattr(evidence, "call", lambda *_: {"metadata": {"name": "ns", "annotations": {"a": "b"}}})
    keep_objects([EAST], "ns", directory / "objects")
    file = directory / "objects" / "east.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    found: list[dict[str, Any]] = json.loads(file.read_text())["items"]
    return found


def test_objects_are_kept_as_a_list_that_kubectl_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each with its kind, which a listing leaves out, and without its managed fields."""
    made = kept(monkeypatch, tmp_path, lambda *_: [{"metadata": {"name": "echo", "managedFields": [1]}}])
    assert [one["kind"] for one in made] == ["Namespace", "Service", "EndpointSlice", "Pod", "Event"]
    assert made[2] == {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "echo"}}


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The evidence of a dead API server is that it is dead."""

    def dead(*_: Any) -> Any:
        raise WorkloadError("cluster east gave no answer")

    assert kept(monkeypatch, tmp_path, dead) == [{"unavailable": "WorkloadError: cluster east gave no answer"}]
