"""`meshproof values`: what a person types to install Cilium by hand, and that no key is ever printed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from meshproof.cli import main
from meshproof.clusters.fleetfile import FLEETS

KIND = (FLEETS / "kind-two.yaml").read_text(encoding="utf-8")
WHERE = [
    "--node=east=10.101.0.101",
    "--api=east=10.101.0.1:6443",
    "--node=west=10.102.0.101",
    "--api=west=api.west:443",
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_script_and_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One helm command a cluster, each with the shared authority first; comments say what has to be true."""
    assert main(["values", "two", *WHERE, "--context", "east=kind-east"]) == 0
    out = capsys.readouterr().out
    commands = [line for line in out.splitlines() if line and not line.startswith("#")]
    assert commands == [
        "helm upgrade --install cilium cilium/cilium --version 1.20.0 --namespace=kube-system"
        f" --kube-context={context} --values=cilium-two/authority.yaml --values=cilium-two/{name}.yaml"
        for name, context in (("east", "kind-east"), ("west", "west"))
    ]
    assert "besides pods it covers 10.140.0.0/16, 10.143.0.0/16: nothing may live there" in out
    assert "Not yet run against live Cilium" in out
    key = (tmp_path / "cilium-two/authority/ca.key").read_text()
    assert key not in out
    assert base64.b64encode(key.encode()).decode() not in out


def test_the_values_of_one_cluster_go_to_stdout_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pure YAML, no secret, no file."""
    assert main(["values", "two", *WHERE, "--cluster", "west", "--by-tag", "--mirror", "registry.example/m"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values["cluster"]["name"], values["k8sServiceHost"], values["k8sServicePort"]) == ("west", "api.west", 443)
    assert values["image"]["override"] == "registry.example/m/cilium:v1.20.0"
    assert "tls" not in values
    assert list(tmp_path.iterdir()) == []


def test_a_fleet_that_cannot_be_brought_up_yet_can_be_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printing reads provider, mesh and profile that are planned; `up` goes on refusing them."""
    text = KIND.replace("mesh: reference", "mesh: cilium").replace("profile: cilium", "profile: aks-fleet")
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["values", "mine.yaml", *WHERE, "--cluster", "east"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["clustermesh"]["defaultGlobalNamespace"] is False
    assert main(["up", "mine.yaml"]) == 10
    assert "mesh cilium is not built yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["two"], 4, "has to be said: --node east=IP --node west=IP --api east=HOST:PORT --api west=HOST:PORT"),
        (["two", *WHERE, "--node", "nord=1.2.3.4"], 4, "--node names nord; fleet two has east, west"),
        (["two", *WHERE[:3], "--api", "west=6443"], 4, "--api west=6443 has no HOST:PORT form"),
        (["two", *WHERE[:3], "--api", "west=h:70000"], 4, "--api west=h:70000 has no HOST:PORT form"),
        (["two", *WHERE, "--cluster", "nord"], 4, "fleet two has no cluster nord; it has east, west"),
        (["two", *WHERE, "--cilium", "1.17"], 10, "Cilium 1.17 is not in meshproof's lock"),
        (["news", *WHERE, "--cluster", "east"], 10, "Cilium has no settings for the profile news"),
        (["two", *WHERE, "--cilium-chart", "gone.tgz"], 10, "gone.tgz cannot be read as a chart"),
        (["two", *WHERE, "--node", "east=10.102.0.101"], 10, "is said to be a node of east and of west"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence each, and no file is left."""
    assert main(["values", *words]) == code
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
