"""Clients are made once a kubeconfig, run a credential plugin once a token, and stand a changing environment."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshproof.clusters import clients
from meshproof.clusters.api import call, client_for
from meshproof.clusters.fleet import Cluster, ClusterSpec
from tests.paper_api import PaperApi, cluster_answers, serving

CLUSTER = ClusterSpec("east")


def with_plugin(kubeconfig: Path, valid: timedelta) -> Path:
    """Let the user of this kubeconfig get a token from a plugin, which counts its calls."""
    calls = kubeconfig.with_name("calls")
    status = {"token": "t1", "expirationTimestamp": (datetime.now(UTC) + valid).strftime("%Y-%m-%dT%H:%M:%SZ")}
    said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    plugin = kubeconfig.with_name("plugin")
    plugin.write_text(f"#!/bin/sh\necho called >> '{calls}'\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    plugin.chmod(stat.S_IRWXU)
    document: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    asks = {"apiVersion": said["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
    document["users"] = [{"name": "me", "user": {"exec": asks}}]
    kubeconfig.write_text(yaml.safe_dump(document))
    calls.touch()
    return calls


@pytest.fixture
def api() -> PaperApi:
    return cluster_answers()


def test_a_plugin_is_asked_once_a_token(api: PaperApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients of a cluster use one token; it is looked at now and then, and another is got when it expires."""
    with serving({"east": api}, tmp_path) as kubeconfig:
        for valid, looks in ((timedelta(hours=1), 1), (timedelta(seconds=1), 2)):
            calls = with_plugin(kubeconfig, valid)
            before = len(calls.read_text().splitlines())
            cluster = Cluster(CLUSTER, "east", kubeconfig)
            monkeypatch.setattr(clients, "RENEWAL_SECONDS", 3600.0)
            for _ in range(3):
                call(cluster, "GET", "/version")
                with client_for(cluster):
                    pass
            assert len(calls.read_text().splitlines()) - before == 1
            hook: Any = clients.kept_client(cluster).configuration.refresh_api_key_hook
            hook._next = 0.0
            call(cluster, "GET", "/version")
            assert len(calls.read_text().splitlines()) - before == looks
            assert clients.kept_client(cluster).configuration.refresh_api_key_hook is hook


def test_a_rewritten_kubeconfig_counts_at_once(api: PaperApi, tmp_path: Path) -> None:
    """Another server in the file is another server from the next request on."""
    other = cluster_answers()
    with serving({"east": api, "west": other}, tmp_path) as kubeconfig:
        cluster = Cluster(CLUSTER, "east", kubeconfig)
        call(cluster, "GET", "/version")
        kubeconfig.write_text(kubeconfig.read_text().replace(str(api.port), str(other.port)))
        call(cluster, "GET", "/version")
    assert (api.asked, other.asked) == (["GET /version"], ["GET /version"])


def test_a_changing_environment_is_gone_through_again() -> None:
    """pytest changes a variable while the library goes through them: it is tried again, and not for ever."""
    tries: list[int] = []

    def disturbed() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise KeyError("PYTEST_CURRENT_TEST")
        return "done"

    assert clients._undisturbed(disturbed) == "done"
    with pytest.raises(KeyError):
        clients._undisturbed(lambda: dict[str, str]()["nothing"])
